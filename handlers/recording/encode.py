"""A note as one line of JSON that every reader takes: no NaN, no NUL, no half of a surrogate pair, and bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from handlers.recording.summaries import MOST_BYTES


def encoded(line: Mapping[str, Any]) -> bytes:
    """UTF-8 with its newline. NaN and infinity are null and make ``not_finite`` true; a ``summary`` of more than
    MOST_BYTES is null and ``truncated`` true. Raises TypeError and ValueError for what JSON does not have."""
    head = {name: value for name, value in line.items() if name != "summary"}
    if "summary" not in line:
        return _json(head)[0] + b"\n"
    summary, finite = _json(line["summary"])
    if not finite:
        head["not_finite"] = True
    if len(summary) > MOST_BYTES:
        head["truncated"], summary = True, b"null"
    return _json(head)[0][:-1] + b',"summary":' + summary + b"}\n"


def _json(value: Any) -> tuple[bytes, bool]:
    """The text, and whether all its numbers are finite."""
    finite = True
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        finite = False
        text = json.dumps(_without_nan(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # PostgreSQL's text has no NUL
    return text.encode("utf-8", "replace").replace(b"\\u0000", b"?"), finite


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value
