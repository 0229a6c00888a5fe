"""Has the repository changed? Answered by stat(2) of the few files whose change means something, not by reading.

Triton's own poll mode is never used: it loads whatever a poll happens to see. Here a version counts from the moment
its manifest, which is written last, appears.
"""

from __future__ import annotations

import os
from pathlib import Path

Fingerprint = tuple[tuple[str, int, int, int], ...]
_WATCHED = ("config.pbtxt", "pointer.json", "experiment.json")


def fingerprint(repository: Path) -> Fingerprint:
    """Path, inode, size and time of every file that says what is served and of every manifest.json; sorted by path."""
    marks: list[tuple[str, int, int, int]] = []
    for model in _folders(repository):
        for name in _WATCHED:
            _mark(Path(model.path) / name, marks)
        if "." in model.name:
            continue
        for version in _folders(Path(model.path)):
            if version.name.isdecimal():
                _mark(Path(version.path) / "manifest.json", marks)
    return tuple(sorted(marks))


def _folders(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def _mark(path: Path, marks: list[tuple[str, int, int, int]]) -> None:
    try:
        stat = path.stat()
    except OSError:
        return
    marks.append((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns))
