"""How long a step has lasted, by a clock that nobody sets: a bake is not over because the time of day was corrected."""

from __future__ import annotations

from dataclasses import dataclass

from routing.rollout.state import RolloutState


@dataclass(frozen=True)
class _Mark:
    """Of one step: how long it had lasted at ``steady``, seconds of the monotonic clock."""

    step: tuple[str, float]
    lasted: float
    steady: float


class Lasted:
    """For one controller. What passed before it saw a step, it has from the time of day."""

    def __init__(self) -> None:
        self._marks: dict[str, _Mark] = {}

    def seconds(self, state: RolloutState, now: float, steady: float) -> float:
        """Of the present step. ``now``: epoch seconds; ``steady``: of the monotonic clock."""
        step, mark = (state.experiment, state.step_started), self._marks.get(state.model)
        if mark is None or mark.step != step:
            mark = self._marks[state.model] = _Mark(step, max(0.0, now - state.step_started), steady)
        return mark.lasted + steady - mark.steady
