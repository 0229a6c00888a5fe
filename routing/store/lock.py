"""One writer at a time over all processes, so that two halves of one fact cannot pass each other unseen."""

from __future__ import annotations

from sqlalchemy import Connection, text

#: Any number does, as long as it is the same everywhere ("slip" in ASCII, plus one: the migrations' is the other).
_KEY = 0x736C6971


def lock(connection: Connection) -> None:
    """Waits for the other writers, not for one that was stopped in the middle; held until the transaction ends."""
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})
