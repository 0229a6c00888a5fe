"""Connections that notice a server that hangs: stopped, or out of reach, it neither answers nor closes the line."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg

#: Seconds without a byte, after which another connection is tried: a query may take longer than that, a server may not.
_SILENCE = 5.0
#: What that other connection may take, twice: to be made, and to answer.
_PROBE_SECONDS = 2


class Watched(psycopg.Connection[Any]):
    """Raises OperationalError instead of waiting for ever; a query that takes long goes on while the server lives.

    `statement_timeout` is kept by the server, which may be what hangs, and `tcp_user_timeout` is not for unix sockets.
    """

    _silence: float = _PROBE_SECONDS
    #: Raises psycopg.Error when the server does not answer; None: silence alone is failure.
    _probe: Callable[[], None] | None = None

    @classmethod
    def open(cls, *args: Any, **values: Any) -> Watched:
        """As psycopg.connect."""
        connection = cls.connect(*args, **values)
        connection._silence, connection._probe = _SILENCE, lambda: _ask(*args, **values)
        return connection

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **values: Any) -> Any:
        """As of psycopg, whose every method waits through this one."""
        return super().wait(self._limited(gen), *args, **values)

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        since = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    since = time.monotonic()
                elif time.monotonic() - since > self._silence:
                    self._check()
                    since = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    def _check(self) -> None:
        try:
            if self._probe is None:
                raise psycopg.OperationalError("no answer")
            self._probe()
        except psycopg.Error as problem:
            # an answer that comes late would be taken for that of the next question
            self.close()
            raise psycopg.OperationalError(f"no answer for {self._silence:.0f} s") from problem


def _ask(*args: Any, **values: Any) -> None:
    with Watched.connect(*args, **{**values, "connect_timeout": _PROBE_SECONDS}) as connection:
        connection.execute("SELECT 1")
