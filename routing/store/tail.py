"""Files that grow and are renamed: each by its identity, from where it was left, in whole lines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: Bytes of one batch: some ten thousand lines, and the longest line that is taken.
BATCH_BYTES = 4 << 20
_HEAD_BYTES = 256


@dataclass(frozen=True)
class Identity:
    """What a file stays through a rename."""

    device: int
    inode: int


@dataclass(frozen=True)
class Place:
    """How far a file was read: ``position`` in bytes; ``head``: of the bytes before it, tells a reused inode."""

    position: int = 0
    head: str = ""


@dataclass(frozen=True)
class Batch:
    """Whole lines, without their ends, and the place after them."""

    lines: list[bytes]
    after: Place


class Tail:
    """One open file; the name may go to another file meanwhile."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        status = os.fstat(stream.fileno())
        self.identity = Identity(status.st_dev, status.st_ino)
        self.size = status.st_size

    def batch(self, place: Place) -> Batch | None:
        """The lines after ``place``; None without a whole one. A cut or replaced file is read from its start."""
        position = place.position if self._is_same(place) else 0
        self._stream.seek(position)
        data = self._stream.read(BATCH_BYTES)
        end = data.rfind(b"\n") + 1
        if end == 0:
            if len(data) < BATCH_BYTES:
                return None
            end = len(data)  # no line is that long: passed over as garbage
        lines = [line for line in data[:end].split(b"\n") if line.strip()]
        return Batch(lines, Place(position + end, self._head(position + end)))

    def _is_same(self, place: Place) -> bool:
        return place.position <= self.size and self._head(place.position) == place.head

    def _head(self, position: int) -> str:
        self._stream.seek(0)
        return hashlib.sha256(self._stream.read(min(position, _HEAD_BYTES))).hexdigest()[:16] if position else ""


def files(folder: Path, pattern: str) -> Iterable[Path]:
    """The files of a folder that may not be there, the longest unchanged first: a rotated one before its successor."""
    found = []
    for path in folder.glob(pattern):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue
    return [path for _, path in sorted(found)]
