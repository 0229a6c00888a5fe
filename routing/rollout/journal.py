"""``<state_dir>/logs/routing.jsonl``: every transition, whoever makes it, between the lines of the controller."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone

from routing.rollout.state import RolloutState, Transition
from slipway.settings import Settings


def note(settings: Settings, before: RolloutState | None, after: RolloutState) -> None:
    """Appends what ``after`` has and ``before`` had not. A disk that is full costs lines, not the transition."""
    lines = [_line(after, entry) for entry in _new(before, after)]
    if not lines:
        return
    path = settings.state_dir / "logs" / "routing.jsonl"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # one write at the end of the file, by its name: the controller turns its log over by renaming it
        with path.open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))


def _new(before: RolloutState | None, after: RolloutState) -> tuple[Transition, ...]:
    if before is None or before.experiment != after.experiment or not before.history:
        return after.history
    known = [index for index, entry in enumerate(after.history) if entry == before.history[-1]]
    return after.history[known[-1] + 1 :] if known else after.history


def _line(state: RolloutState, entry: Transition) -> str:
    values = {
        "time": datetime.fromtimestamp(entry.time, timezone.utc).isoformat(timespec="milliseconds"),
        "level": "info",
        "component": "routing",
        "message": "rollout",
        "model": state.model,
        "experiment": state.experiment,
        **entry.model_dump(exclude={"time"}),
    }
    return json.dumps(values, ensure_ascii=False) + "\n"
