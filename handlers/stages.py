"""CPU time by stage (decode, resize, network, nms, ...) of whatever runs inside ``recording``; nothing otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Seconds of this thread's CPU time by stage.
Times = dict[str, float]
_TIMES: ContextVar[Times | None] = ContextVar("slipway_stage_times", default=None)


@contextmanager
def recording() -> Iterator[Times]:
    """Gives a dictionary that every :func:`stage` run inside adds its CPU seconds to."""
    times: Times = {}
    token = _TIMES.set(times)
    try:
        yield times
    finally:
        _TIMES.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Adds the CPU time of its body to ``name``, where somebody records. Nested stages count the whole body each."""
    times = _TIMES.get()
    if times is None:
        yield
        return
    started = time.thread_time()
    try:
        yield
    finally:
        times[name] = times.get(name, 0.0) + time.thread_time() - started
