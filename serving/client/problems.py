"""What a server's text says was wrong, as the SlipwayError of its code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from slipway.errors import ServerNotRunning, SlipwayError, all_errors

#: In the texts of the HTTP and gRPC clients: nothing listens, the connection ended, the name has no address.
_SILENCE = (
    *("connect", "refused", "unreachable", "reset", "goaway", "deadline", "timed out"),
    *("resolv", "resolution", "lookup", "name or service"),
)
_CODE = re.compile(r"\b([A-Z][A-Z_]{2,}): ?(.*)", re.DOTALL)


def error_from(text: str, address: str = "the server") -> SlipwayError:
    """The error that a server's text names by its code (``CODE: text``); ServerNotRunning for a failed connection."""
    kinds = {kind.code: kind for kind in all_errors()}
    match = _CODE.search(text)
    if match is not None and match[1] in kinds:
        return kinds[match[1]](match[2].strip())
    lowered = text.lower()
    if any(word in lowered for word in _SILENCE):
        return ServerNotRunning(
            f"{address} does not answer", observed=text.splitlines()[0][:200], fix="`slipway serve`"
        )
    return SlipwayError(text.strip() or "the server gave no reason")


def error_of(values: Mapping[str, Any]) -> SlipwayError:
    """The error of a JSON object ``{"error": "CODE: text", ...}``, with what else it says."""
    error = error_from(str(values["error"]))
    for name in ("message", "observed", "expected", "fix"):
        if values.get(name) is not None:
            setattr(error, name, values[name])
    return error
