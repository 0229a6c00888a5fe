"""Lines of the access log and of prediction files as rows of the tables; anything else is told apart, never raised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

Row = tuple[Any, ...]
#: A line that is no row: of another kind (nothing to do) or garbage (counted).
OTHER = None
EXPOSURE_COLUMNS = (
    "request_id",
    "experiment",
    "time",
    "model",
    "unit",
    "assigned",
    "answered",
    "why",
    "protocol",
    "status",
    "grpc_status",
    "code",
    "duration_ms",
    "failed",
    "own",
)
PREDICTION_COLUMNS = (
    "request_id",
    "model",
    "version",
    "index",
    "time",
    "task",
    "code",
    "not_finite",
    "ms",
    "summary",
)
#: gRPC statuses that google.rpc.Code maps to 5xx, but UNIMPLEMENTED: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE,
#: DATA_LOSS. The others are the client's doing.
_GRPC_SERVER_ERRORS = {2, 4, 13, 14, 15}
_CLIENT_ERROR_NAMES = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "CANCELLED"}
#: Envoy's detail of an answer that it gave because a deadline had come: the client's own, if it had set a shorter one.
_DEADLINE = "max_duration_timeout"
_LARGEST = 2**31 - 1
#: Bytes of a text that is part of a key: an index entry of PostgreSQL has at most 2704.
LONGEST_KEY = 512


class Garbage(Exception):
    """Not a line that Slipway writes."""


def exposure(line: bytes) -> Row | None:
    """A line of the access log; None for a request outside any experiment. Raises Garbage."""
    values = _object(line)
    if values.get("experiment") is None:
        return OTHER
    try:
        return _exposure(values)
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise Garbage from problem


def prediction(line: bytes) -> Row | None:
    """A line of a prediction file. Raises Garbage."""
    values = _object(line)
    try:
        return (
            key_text(values["request_id"]),
            key_text(values["model"]),
            _whole(values["version"]),
            _whole(values.get("index", 0)),
            _number(values["time"]),
            _maybe(_text, values.get("task")),
            _maybe(_text, values.get("code")),
            bool(values.get("not_finite", False)),
            _maybe(_number, values.get("ms")),
            _maybe(_json, values.get("summary")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise Garbage from problem


def _exposure(values: dict[str, Any]) -> Row:
    analysed = values["why"] in ("arm", "stable")
    assigned = _maybe(_whole, values.get("assigned"))
    if analysed and assigned is None:
        raise Garbage
    answered = _maybe(_whole, values.get("answered"))
    status, grpc_status = _whole(values.get("status") or 0), _maybe(_whole, values.get("grpc_status"))
    late = values.get("details") == _DEADLINE and values.get("deadline") is not None
    failed = _failed(values.get("failed"), 0 if late else status, None if late else grpc_status)
    return (
        key_text(values["request_id"]),
        key_text(values["experiment"]),
        datetime.fromisoformat(_text(values["time"]).replace("Z", "+00:00")).timestamp(),
        key_text(values.get("model") or ""),
        _maybe(_unit, values.get("unit")),
        assigned,
        answered,
        _text(values["why"]),
        _maybe(_text, values.get("protocol")),
        status,
        grpc_status,
        _maybe(_text, values.get("code")),
        _whole(values.get("duration_ms") or 0),
        failed,
        not failed and answered == assigned and 200 <= status < 300 and grpc_status in (None, 0),
    )


def _failed(first_try: Any, status: int, grpc_status: int | None) -> bool:
    """Whether the assigned version failed: at its first try, when another version answered after it, or for good."""
    if first_try is not None:
        text = str(first_try)
        return not (text in _CLIENT_ERROR_NAMES or (text.isdigit() and 400 <= int(text) < 500))
    # 0 is a client that went away before the answer (Envoy, %RESPONSE_CODE%).
    return status >= 500 or grpc_status in _GRPC_SERVER_ERRORS


def _object(line: bytes) -> dict[str, Any]:
    try:
        # NaN is no JSON; a prediction that holds one is just the one that must be seen.
        values = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as problem:
        raise Garbage from problem
    if not isinstance(values, dict):
        raise Garbage
    return values


def _maybe(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _text(value: Any) -> str:
    """A text that PostgreSQL can hold: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    if not value.isascii():
        value.encode()
    return value


def key_text(value: Any) -> str:
    """A text that may be part of a key. Raises ValueError."""
    if len(_text(value).encode()) > LONGEST_KEY:
        raise ValueError
    return str(value)


def _unit(value: Any) -> int:
    number = int(_text(value), 16)
    if not 0 <= number < 2**32:
        raise ValueError
    return number


def _whole(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError
    return number


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _json(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if "\\u0000" in text:
        raise ValueError
    return _text(text)
