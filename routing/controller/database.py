"""Which database the project's experiments are kept in, and its use by a command beside the controller."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from routing import feedback
from routing.postgres import Postgres
from routing.store import Store
from slipway.errors import StoreUnavailable
from slipway.settings import Settings


def locate(settings: Settings) -> tuple[Postgres | None, str]:
    """The embedded server and its URL, or None and the URL of the one that the settings name."""
    url: str | None = getattr(settings, "database_url", None)
    if url:
        return None, url
    embedded = Postgres(settings.state_dir / "postgres")
    return embedded, embedded.url


class Use:
    """The embedded server, for one of those that use it at the same time: commands and the controller.

    Each holds a lock that they share; whoever leaves last, and so gets it alone, stops the server. The kernel gives
    the lock back when its holder is killed.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._stream: IO[str] | None = None

    def begin(self) -> None:
        """Starts the server when it does not run. Waits for one that is being stopped. Raises StoreUnavailable."""
        if self._stream is None:
            self._stream = self._open()
            fcntl.flock(self._stream, fcntl.LOCK_SH)
        if not self._postgres.alive():
            self._postgres.start()

    def end(self) -> None:
        """Stops the server unless others use it. Raises StoreUnavailable."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._postgres.stop()

    def _open(self) -> IO[str]:
        path = self._postgres.folder.with_name(f"{self._postgres.folder.name}.users")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("a")
        except OSError as problem:
            raise StoreUnavailable(f"{path} cannot be written", observed=problem.strerror) from problem


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store; an embedded server that does not run is started for this while. Raises StoreUnavailable."""
    embedded, url = locate(settings)
    use = Use(embedded) if embedded is not None else None
    store = Store(url)
    try:
        if use is not None:
            use.begin()
        yield store
    finally:
        store.close()
        if use is not None:
            use.end()


def take_feedback(settings: Settings, file: Path) -> int:
    """Stores a file of labels and outcomes; returns how many. Raises FeedbackInvalid, before anything is started or
    stored, and StoreUnavailable."""
    items = feedback.parse_file(file)
    with opened(settings) as store:
        return feedback.save(store, items)
