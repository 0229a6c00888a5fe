"""Structured logs: one JSON object per line, one file per component, all in ``<state_dir>/logs``."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

_MAX_BYTES = 16 << 20
_FILES_KEPT = 3
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "component", "message", ...fields}``; fields come from ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; an exception becomes a field, so that a traceback is one entry and not twenty."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "component": record.name.rsplit(".", 1)[-1],
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False, default=str)


class ComponentLog:
    """A named log. Keyword arguments become fields of the line: ``log.info("loaded", model="digits", seconds=1.4)``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, level: str, message: str, **fields: Any) -> None:
        """A line at a level by name: debug, info, warning, error, critical."""
        self._logger.log(_LEVELS[level], message, extra={"fields": fields})

    def info(self, message: str, **fields: Any) -> None:
        """A line at level info."""
        self.write("info", message, **fields)

    def warning(self, message: str, **fields: Any) -> None:
        """A line at level warning."""
        self.write("warning", message, **fields)

    def error(self, message: str, **fields: Any) -> None:
        """A line at level error."""
        self.write("error", message, **fields)

    def exception(self, message: str, **fields: Any) -> None:
        """A line at level error with the exception that is being handled."""
        self._logger.error(message, exc_info=True, extra={"fields": fields})


def open_log(component: str, folder: Path, echo: bool = False) -> ComponentLog:
    """The log ``<folder>/<component>.jsonl``, rotated at 16 MiB; with ``echo`` on standard error too."""
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(f"slipway.{component}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    file = RotatingFileHandler(
        folder / f"{component}.jsonl", maxBytes=_MAX_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
    )
    handlers: list[logging.Handler] = [file, *([logging.StreamHandler(sys.stderr)] if echo else [])]
    for handler in handlers:
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
    return ComponentLog(logger)
