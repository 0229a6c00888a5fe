"""A directory for files in the making: always removed, also after a run that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "export-"
_LOCK = ".owner"


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A fresh directory under ``parent``, removed at the end whatever happens.

    Its ``.owner`` file is flocked while its maker lives; the next call removes those whose maker was killed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (path / _LOCK).open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            with (path / _LOCK).open("r+") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            continue  # a living run, or one between mkdir and its lock
