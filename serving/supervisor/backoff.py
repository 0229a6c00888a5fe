"""How soon something that died may be started again: at once at first, slower and slower when it keeps dying."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Backoff:
    """Delays of 0, 0, 0.5, 1, 2, 4 ... seconds, by the number of starts within ``window`` seconds, up to ``longest``.

    ``exhausted``: more than ``budget`` starts within the window, which is worth telling a person.
    """

    def __init__(
        self,
        budget: int = 5,
        window: float = 120.0,
        longest: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._window, self._longest, self._clock = budget, window, longest, clock
        self._starts: deque[float] = deque()
        self.total = 0

    def record(self) -> None:
        """A start happens now."""
        self.total += 1
        self._starts.append(self._clock())

    def may_start(self) -> bool:
        """Whether the delay since the last start has passed."""
        recent = self._recent()
        if recent < 2:
            return True
        delay = min(0.5 * 2.0 ** (recent - 2), self._longest)
        return self._clock() - self._starts[-1] >= delay

    @property
    def exhausted(self) -> bool:
        """Whether it was started more often than the budget allows."""
        return self._recent() > self._budget

    def _recent(self) -> int:
        now = self._clock()
        while self._starts and now - self._starts[0] > self._window:
            self._starts.popleft()
        return len(self._starts)
