"""One process of a kind per state directory: an flock, which the kernel gives back when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from slipway.errors import ServerAlreadyRunning


@contextlib.contextmanager
def locked(
    folder: Path,
    name: str = "lock",
    taken: str = "a supervisor already serves this state directory",
    fix: str = "`slipway status` shows it, `make down` stops it",
) -> Iterator[None]:
    """Holds ``folder``/``name``; raises ServerAlreadyRunning, worded by ``taken``, when another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise ServerAlreadyRunning(taken, observed=path, fix=fix) from problem
        yield
