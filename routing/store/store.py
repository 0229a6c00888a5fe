"""The connection to PostgreSQL: made when needed, again after a loss; its failures in one error without secrets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from routing.store.migrate import migrate
from routing.store.watched import Watched
from slipway.errors import StoreUnavailable

_CONNECT_SECONDS = 2
_SECRET_OPTIONS = ("password", "sslpassword", "passfile")
_GONE = (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError)


class Store:
    """What was seen of experiments. Safe to share between threads; works again by itself after the database was away.

    ``url``: ``postgresql://user:password@host/database``, as libpq takes it, or `Postgres.url`. Nothing is connected
    until the first use, which brings the tables up to date. Raises StoreUnavailable for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        self._secrets: tuple[str, ...] = ()
        self._engine = self._make_engine(url)
        self._migrated = False
        self._migrating = threading.Lock()

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an error.

        Raises StoreUnavailable: within 2 s where nobody answers, within 10 s where somebody hangs.
        """
        try:
            self._migrate_once()
            with self._engine.begin() as connection:
                yield connection
        except _GONE as problem:
            raise self._unavailable(problem) from None
        except DBAPIError as problem:
            if not problem.connection_invalidated:
                raise
            raise self._unavailable(problem) from None

    def check(self) -> None:
        """Returns when the database answers. Raises StoreUnavailable."""
        with self.begin() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Closes the connections; a later use opens new ones."""
        self._engine.dispose()

    def _make_engine(self, url: str) -> Engine:
        try:
            parsed = make_url(url)
            hidden = [parsed.password, *(parsed.query.get(name) for name in _SECRET_OPTIONS)]
            self._secrets = tuple(str(secret) for secret in hidden if secret)
            if parsed.drivername in ("postgres", "postgresql"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            if parsed.drivername != "postgresql+psycopg":
                raise ArgumentError("not PostgreSQL")
            engine = create_engine(
                parsed,
                pool_pre_ping=True,
                pool_timeout=_CONNECT_SECONDS,
                # Labels and summaries are people's data: never in an error's text.
                hide_parameters=True,
                connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "slipway"},
            )
            event.listen(engine, "do_connect", _connect)
            return engine
        except (ArgumentError, NoSuchModuleError, ValueError):
            # The text itself is not repeated: it holds a password.
            raise StoreUnavailable(
                "the database's URL cannot be understood",
                expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                fix="correct SLIPWAY_DATABASE_URL, or unset it for the embedded database",
            ) from None

    def _migrate_once(self) -> None:
        if self._migrated:
            return
        with self._migrating:
            if self._migrated:
                return
            try:
                migrate(self._engine)
            except DBAPIError as problem:
                raise self._unavailable(problem) from None
            self._migrated = True

    def _unavailable(self, problem: Exception) -> StoreUnavailable:
        cause = problem.orig if isinstance(problem, DBAPIError) else problem
        seen = str(cause).strip().split("\n")[0]
        for secret in self._secrets:
            seen = seen.replace(secret, "***")
        url = self._engine.url.set(query={})
        return StoreUnavailable(
            "the database of exposures and outcomes does not answer",
            observed=f"{url.render_as_string(hide_password=True)}: {seen}",
            fix="start it, or correct SLIPWAY_DATABASE_URL; traffic flows on and verdicts hold meanwhile",
        )


def _connect(_dialect: object, _record: object, args: Sequence[Any], values: dict[str, Any]) -> Watched:
    return Watched.open(*args, **values)
