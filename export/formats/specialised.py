"""Finds the line of a model's source that turns its dynamic batch into a constant.

torch.export only says "your code specialized it to be a constant (2)". The line is known at one moment: when the
symbol of the batch is compared with a number, ``torch.fx.experimental.symbolic_shapes`` logs the guard
(``eval Eq(s7, 2) [guard added]``) with the model's own code still on the Python stack. Seen with torch 2.13; this file
can go when the exception names the line.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from export.formats.noise import captured
from export.formats.places import innermost
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_LOGGER = "torch.fx.experimental.symbolic_shapes"
#: What exporters and the checks behind them say when a batch was baked in.
_ABOUT_THE_BATCH = re.compile(r"batch|dynamic|Constraints violated", re.IGNORECASE)
_NAMED = "the model fixes its batch at"
_GUARD = re.compile(r"eval (?:Eq|Ne)\(\w+, \d+\)")


def specialised_at(module: torch.nn.Module, example: torch.Tensor, largest: int = 64) -> str | None:
    """Exports ``module`` with a dynamic batch and watches for the guard that fixes it: its place, as
    ``model.py:12 in forward``, or None when nothing fixes it. ``example``: uint8[2, H, W, 3]. Takes about a second."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=max(2, largest))
    with _guards() as found:
        try:
            with torch.no_grad():
                torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
        except Exception:  # expected: whether and why it fails is the exporter's message, the place is what is missing
            return found[0] if found else None
    return None


def name_the_line(problem: ExportFailed, module: torch.nn.Module, example: torch.Tensor, log_dir: Path) -> ExportFailed:
    """``problem`` with the line that fixes the batch in its message, where it is about the batch and a line is found;
    else ``problem`` itself. For exporters: ``raise name_the_line(problem, module, example, options.log_dir)``."""
    if _NAMED in problem.message or not _ABOUT_THE_BATCH.search(str(problem)):
        return problem
    with captured(log_dir / "batch.log"):
        line = specialised_at(module, example)
    if line is None:
        return problem
    message = f"{problem.message}; {_NAMED} {line}"
    named = ExportFailed(message, observed=problem.observed, expected=problem.expected, fix=problem.fix)
    named.__cause__ = problem.__cause__
    return named


@contextmanager
def _guards() -> Iterator[list[str]]:
    """The places of the guards within the block; the logger's own output stays away from the terminal."""
    logger, handler = logging.getLogger(_LOGGER), _Places()
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler.places
    finally:
        level, logger.propagate, logger.handlers[:] = before
        logger.setLevel(level)


class _Places(logging.Handler):
    """Remembers who was running when a guard was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not _GUARD.search(record.getMessage()):
            return
        frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_stack()]
        # the frames up to this file's own are its caller's, and no part of the model
        inside = next((index for index in reversed(range(len(frames))) if _is_ours(frames[index])), -1)
        asked = innermost(frame for frame in frames[inside + 1 :] if frame[0] != __file__)
        if asked:
            self.places.append(asked)


def _is_ours(frame: tuple[str, int, str]) -> bool:
    return frame[0] == __file__ and frame[2] == specialised_at.__name__
