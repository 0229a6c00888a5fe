"""Reads one line of TorchServe's output, as its log4j2.xml writes it, into fields for the structured log."""

from __future__ import annotations

import json
import re
from typing import Any

_LINE = re.compile(r"^(?P<level>[A-Z]+)\|(?P<thread>[^|]*)\|(?P<logger>[^|]*)\|(?P<text>.*)$")
_LEVELS = {"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error", "FATAL": "critical"}
#: ``W-9000-digits_1-stdout``: worker's port, model and version.
_WORKER = re.compile(r"^W-(?P<worker>\d+)-(?P<model>.+)_(?P<version>[^_]+?)(-std(out|err))?$")
#: What handlers.torchserve logs when a model cannot start; its field ``error`` says why.
START_FAILED = "the model cannot start"


def parse(line: str) -> dict[str, Any]:
    """``{"level", "message"[, "source", "model", "version", "worker", ...]}``; an odd line is kept as it is."""
    match = _LINE.match(line)
    if match is None:
        return {"level": "info", "message": line}
    fields: dict[str, Any] = {"level": _LEVELS.get(match["level"], "info"), "message": match["text"]}
    fields["source"] = match["logger"]
    worker = _WORKER.match(match["thread"])
    if worker is not None:
        fields |= {"model": worker["model"], "version": worker["version"], "worker": worker["worker"]}
    return fields | _handler_fields(match["text"]) if match["logger"] == "MODEL_LOG" else fields


def _handler_fields(text: str) -> dict[str, Any]:
    """A line that a handler logged as JSON itself: its fields go through as they are."""
    if not text.startswith("{"):
        return {}
    try:
        fields: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    level = str(fields.pop("level", "info")).lower()
    fields.pop("time", None)
    message = str(fields.pop("event", fields.pop("message", "")))
    return {**fields, "level": level if level in _LEVELS.values() else "info", "message": message, "source": "handlers"}
