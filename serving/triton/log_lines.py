"""Reads one line of Triton's own log (``--log-format=ISO8601``) into fields for the structured log."""

from __future__ import annotations

import json
import re
from typing import Any

_LINE = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (?P<level>[IWEFV]) \d+ (?P<source>[\w.]+:\d+)\] ?(?P<text>.*)$"
)
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical", "V": "debug"}
#: Said at every start without a GPU, and true: not a warning to anybody.
_TABLE = ("| ", "+--")
_NOISE = ("pinned system memory", "CudaDriverHelper")


def parse(line: str) -> dict[str, Any]:
    """``{"level", "message"[, "source"]}``; a line that is not Triton's own (a stub's print) is kept as it is."""
    if line.startswith("{"):
        return _handler_line(line)
    if line.startswith(_TABLE):
        return {"level": "debug", "message": line}
    match = _LINE.match(line)
    if match is None:
        return {"level": "info", "message": line}
    text = match["text"]
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    level = "debug" if any(noise in text for noise in _NOISE) else _LEVELS[match["level"]]
    return {"level": level, "message": text, "source": match["source"]}


def _handler_line(line: str) -> dict[str, Any]:
    """A line that a public model logged as JSON itself: its fields go through as they are."""
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"level": "info", "message": line}
    level = str(fields.pop("level", "info")).lower()
    fields.pop("time", None)
    known = level if level in ("debug", "info", "warning", "error", "critical") else "info"
    message = str(fields.pop("event", fields.pop("message", "")))
    return {**fields, "level": known, "message": message, "source": "handlers"}
