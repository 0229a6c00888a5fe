"""Contestants that take turns: each round every one of them runs for a moment, in another order.

What disturbs a machine for a second then meets all of them alike, so ratios within a round mean more than any time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.pipeline import RunNetwork

#: Seconds of one turn at least: long against the clock, short against what disturbs a machine.
TURN_SECONDS = 0.1
#: Rounds at least: below this a median has no confidence interval worth its name.
LEAST_ROUNDS = 8
_WARM_UP_TURNS = 2


@dataclass(frozen=True)
class Turn:
    """What one contestant did in one turn: images, wall seconds, and CPU seconds of all its threads."""

    images: int
    seconds: float
    cpu_seconds: float

    @property
    def ms_per_image(self) -> float:
        """Wall milliseconds per image."""
        return 1000 * self.seconds / self.images

    @property
    def cpu_ms_per_image(self) -> float:
        """CPU milliseconds per image."""
        return 1000 * self.cpu_seconds / self.images


class Contestant(Protocol):
    """Something that can be timed."""

    def turn(self, seconds: float) -> Turn:
        """Runs for ``seconds``, at least one call; raises what its runtime raises."""


class InProcess:
    """A session of this process. CPU time is the whole process's, so nothing else may run in it meanwhile."""

    def __init__(self, run: RunNetwork, pixels: NDArray[np.uint8], batch: int) -> None:
        """``pixels``: uint8[n, H, W, 3], real images; ``batch``: images per call, going round all of them."""
        self._run = run
        self._batches = batches(pixels, batch)
        self._next = 0

    def turn(self, seconds: float) -> Turn:
        """One call that is not timed, since others have had the caches; then calls for ``seconds``."""
        self._call()
        cpu, begun = time.process_time(), time.perf_counter()
        images, elapsed = 0, 0.0
        while not images or elapsed < seconds:
            images += self._call()
            elapsed = time.perf_counter() - begun
        return Turn(images, elapsed, time.process_time() - cpu)

    def _call(self) -> int:
        batch = self._batches[self._next % len(self._batches)]
        self._next += 1
        self._run(batch)
        return len(batch)


def batches(pixels: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    """All images in batches of exactly ``size``, contiguous; the last is filled up with the first images."""
    count = -(-len(pixels) // size)
    order = np.arange(count * size) % len(pixels)
    return [np.ascontiguousarray(pixels[order[i * size : (i + 1) * size]]) for i in range(count)]


def take_turns(
    contestants: Mapping[str, Contestant], seconds: float, least: int = LEAST_ROUNDS
) -> dict[str, list[Turn]]:
    """The turns of each contestant, as many for all: rounds until ``seconds`` are over, ``least`` of them in any case.

    Each is warmed up first, which the budget does not count. Orders repeat from run to run (fixed seed)."""
    for contestant in contestants.values():
        for _ in range(_WARM_UP_TURNS):
            contestant.turn(0.0)
    names, order = list(contestants), np.random.default_rng(0)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    begun, rounds = time.perf_counter(), 0
    while names and (rounds < least or time.perf_counter() - begun < seconds):
        for place in order.permutation(len(names)):
            turns[names[place]].append(contestants[names[place]].turn(TURN_SECONDS))
        rounds += 1
    return turns
