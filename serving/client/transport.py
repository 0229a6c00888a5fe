"""What a transport does for PredictClient: one request, one reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway.errors import SlipwayError


@dataclass(frozen=True)
class Ask:
    """One request. ``version``: empty for the stable one; ``parameters``: of the request, plain JSON values.
    ``headers``: sent beside the request's id."""

    model: str
    images: Sequence[bytes]
    version: str
    request_id: str
    parameters: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """``rows``: per image its record or its error; ``version``: which answered."""

    rows: list[Mapping[str, Any] | SlipwayError]
    version: str


class Transport(Protocol):
    """A connection to one server."""

    def ask(self, request: Ask) -> Reply:
        """Raises the SlipwayError that the server names, ServerNotRunning when nothing answers."""

    def most_images(self, model: str, version: str) -> int:
        """How many images one request may have."""

    def close(self) -> None:
        """Ends the connection."""
