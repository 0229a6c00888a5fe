"""One supervisor per state directory: an flock, which the kernel gives back when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from slipway.errors import ServerAlreadyRunning


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Holds the state directory; raises ServerAlreadyRunning when another supervisor does."""
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / "lock"
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise ServerAlreadyRunning(
                "a supervisor already serves this state directory",
                observed=path,
                fix="`slipway status` shows it, `make down` stops it",
            ) from problem
        yield
