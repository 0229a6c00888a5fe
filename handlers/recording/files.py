"""``<folder>/<pid>.jsonl``: whole lines only, renamed when it is full, bounded in all, whoever left them."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Bytes of one file before it becomes ``<pid>.<n>.jsonl``, and how many such a process keeps.
FILE_BYTES = 8 << 20
KEPT_FILES = 4
#: What processes have left that are gone: days without a write, bytes and files of all. One that dies every few seconds
#: leaves a file each time.
_STALE_DAYS = 7
LEFT_BYTES = 256 << 20
LEFT_FILES = 1000


class LineFile:
    """Opened for every write, a few times a second: readers follow renamed files, and may delete them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / f"{os.getpid()}.jsonl"
        self._new = True
        #: whether the file may end within a line: by a process of this pid that died, or on a disk that was full
        self._torn = True

    def append(self, lines: Sequence[bytes]) -> None:
        """Adds lines, each with its newline. Raises OSError; some or all of them are lost then."""
        if self._new:
            private_folder(self._folder)
            shrink(self._folder.glob("*.jsonl"), LEFT_BYTES, LEFT_FILES, time.time() - _STALE_DAYS * 86_400)
            self._new = False
        content = b"".join(lines)
        with open(self._path, "ab+", buffering=0, opener=_private) as file:
            size = file.seek(0, os.SEEK_END)
            if self._torn and size:
                file.seek(size - 1)
                content = content if file.read(1) == b"\n" else b"\n" + content
            self._torn = True
            while content:
                content = content[file.write(content) or 0 :]
            self._torn = False
            size = file.tell()
        if size >= FILE_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        old = {int(path.name.split(".")[1]): path for path in self._folder.glob(f"{os.getpid()}.[0-9]*.jsonl")}
        number = max(old, default=0) + 1
        self._path.replace(self._folder / f"{os.getpid()}.{number}.jsonl")
        for known, path in old.items():
            if known <= number - KEPT_FILES:
                path.unlink(missing_ok=True)


def private_folder(folder: Path) -> None:
    """Makes it for this user alone: notes are about other people's pictures."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def shrink(paths: Iterable[Path], most_bytes: int, most_files: float = math.inf, since: float = 0.0) -> None:
    """Removes the oldest where there is too much, and those that were not written since then (epoch seconds). Who still
    writes one of them begins it anew."""
    found: list[tuple[float, int, Path]] = []
    for path in paths:
        try:
            state = path.stat()
        except OSError:  # another process was faster
            continue
        found.append((state.st_mtime, state.st_size, path))
    found.sort()
    total, left = sum(size for _, size, _ in found), len(found)
    for written, size, path in found:
        if total <= most_bytes and left <= most_files and written >= since:
            return
        with contextlib.suppress(OSError):  # one that may not be removed keeps nobody from writing
            path.unlink(missing_ok=True)
            total, left = total - size, left - 1
