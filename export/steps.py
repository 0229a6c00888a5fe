"""The steps of a run: what is being done, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class StepEvent:
    """Progress of an export. ``step``: words for people; ``state``: started, finished or failed; ``seconds``: since
    its start, 0 when it starts."""

    step: str
    state: str
    seconds: float = 0.0


Progress = Callable[[StepEvent], None]


class Steps:
    """Tells ``progress`` of every step and keeps its ``seconds``, by name and in order."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Within the block, ``name`` is being done."""
        begin = time.perf_counter()
        self._progress(StepEvent(name, "started"))
        state = "failed"
        try:
            yield
            state = "finished"
        finally:
            self.seconds[name] = time.perf_counter() - begin
            self._progress(StepEvent(name, state, self.seconds[name]))
