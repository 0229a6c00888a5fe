"""Which database the project's experiments are kept in, and its use by a command beside the controller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from routing import feedback
from routing.postgres import Postgres
from routing.store import Store
from slipway.errors import FeedbackInvalid
from slipway.settings import Settings


def locate(settings: Settings) -> tuple[Postgres | None, str]:
    """The embedded server and its URL, or None and the URL of the one that the settings name."""
    url: str | None = getattr(settings, "database_url", None)
    if url:
        return None, url
    embedded = Postgres(settings.state_dir / "postgres")
    return embedded, embedded.url


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store; an embedded server that does not run is started for this while. Raises StoreUnavailable."""
    embedded, url = locate(settings)
    starts = embedded is not None and not embedded.alive()
    store = Store(url)
    try:
        if embedded is not None and starts:
            embedded.start()
        yield store
    finally:
        store.close()
        if embedded is not None and starts:
            embedded.stop()


def take_feedback(settings: Settings, file: Path) -> int:
    """Stores a file of labels and outcomes; returns how many. Raises FeedbackInvalid, before anything is started or
    stored, and StoreUnavailable."""
    if file.is_file():
        feedback.parse(file.read_bytes())
    else:
        raise FeedbackInvalid(f"{file} cannot be read", expected="a file of JSON lines", fix="check the path")
    with opened(settings) as store:
        return feedback.read_file(store, file)
