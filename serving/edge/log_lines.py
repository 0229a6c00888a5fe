"""Reads one line of Envoy's own log, whose format is ours, into fields for the structured log."""

from __future__ import annotations

import re
from typing import Any

#: For Envoy's ``--log-format``: level, logger, text (spdlog syntax).
FORMAT = "[%l][%n] %v"
_LINE = re.compile(r"^\[(?P<level>\w+)\]\[(?P<source>[\w.-]+)\] (?P<text>.*)$")
_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warning": "warning", "error": "error"}
_SCRIPT = "script log: "


def parse(line: str) -> dict[str, Any]:
    """``{"level", "message"[, "source"]}``; a line that is not from Envoy's logger is kept as it is, as a warning."""
    match = _LINE.match(line)
    if match is None:
        return {"level": "warning", "message": line}
    text = match["text"].removesuffix("\\n")
    level = _LEVELS.get(match["level"], "critical")
    return {"level": level, "message": text.removeprefix(_SCRIPT), "source": match["source"]}
