"""Sends what exporters say (warnings, log records) to a file, so that a person sees progress and errors only."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

#: Loggers of the export stack; some carry their own stderr handler, so silencing the root alone is not enough.
_CHATTY = ("torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime")


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Within the block, Python warnings and all log records go to ``log`` (replaced), nothing to the terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with contextlib.ExitStack() as stack:
        stack.callback(handler.close)
        for logger in [logging.getLogger(), *_chatty_loggers()]:
            stack.callback(setattr, logger, "handlers", logger.handlers)
            logger.handlers = [handler] if logger is logging.getLogger() or not logger.propagate else []
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        warnings.showwarning = _to_log  # restored by catch_warnings
        yield


def tail(log: Path, lines: int = 3) -> str | None:
    """The last lines of a log as one line, or None for an empty one."""
    if not log.is_file():
        return None
    found = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return " | ".join(line[:300] for line in found[-lines:]) or None


def _chatty_loggers() -> list[logging.Logger]:
    known = logging.Logger.manager.loggerDict
    return [
        item
        for name, item in known.items()
        if isinstance(item, logging.Logger) and item.handlers and name.split(".")[0] in _CHATTY
    ]


def _to_log(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logging.getLogger("warnings").warning("%s:%d: %s: %s", filename, lineno, category.__name__, message)
