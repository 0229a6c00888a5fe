"""``<folder>/<name>-<index>``: encoded images of recorded requests, bounded; the oldest go first."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path

from handlers.recording.files import private_folder, shrink

#: Bytes of the images that one process keeps, and of all that lie there when it begins, whoever left them.
IMAGE_BYTES = 64 << 20
LEFT_BYTES = 256 << 20


def image_name(request_id: str, index: int) -> str:
    """The file of a kept image: request ids are clients' text and never part of a path."""
    return f"{hashlib.sha256(request_id.encode('utf-8', 'replace')).hexdigest()[:32]}-{index}"


class ImageFolder:
    """Images of one process, beside those of others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._new = True

    def keep(self, request_id: str, index: int, image: bytes) -> None:
        """Writes it, unless it is too large or there already: another version had a copy of the request. Raises
        OSError."""
        if self._new:
            private_folder(self._folder)
            shrink(self._folder.iterdir(), LEFT_BYTES)
            self._new = False
        path = self._folder / image_name(request_id, index)
        if len(image) > IMAGE_BYTES or path.exists():
            return
        while self._own and self._bytes + len(image) > IMAGE_BYTES:
            oldest, size = self._own.popleft()
            oldest.unlink(missing_ok=True)
            self._bytes -= size
        _write(path, image)
        self._own.append((path, len(image)))
        self._bytes += len(image)


def _write(path: Path, image: bytes) -> None:
    """By rename, so that nobody reads half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.touch(mode=0o600)
        scratch.write_bytes(image)
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
