"""Rows of the report that need more than a copy: steps, changes, checks, disagreements with their images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from routing.compare import Kept, Worst
from routing.report.data import Answer, CheckRow, Disagreement, PastVerdict, StepRow
from routing.rollout.state import RolloutState
from routing.store.history import SavedVerdict
from slipway.settings import Settings


def step_rows(state: RolloutState) -> tuple[StepRow, ...]:
    """The walk, each step with when it began and ended."""
    began: dict[int, float] = {}
    for entry in state.history:
        began.setdefault(entry.step, entry.time)
    over = None if state.active else state.ended
    rows = []
    for index, step in enumerate(state.plan.walk):
        later = [when for other, when in began.items() if other > index]
        started = began.get(index)
        rows.append(StepRow(step.share, step.bake, started, None if started is None else min(later, default=over)))
    return tuple(rows)


def past(state: RolloutState, saved: Sequence[SavedVerdict]) -> tuple[PastVerdict, ...]:
    """Transitions, and verdicts where they changed, in the order of time."""
    rows = [PastVerdict(item.time, item.step, item.status, "; ".join(item.why)) for item in state.history]
    rows += [PastVerdict(v.time, v.step, v.decision, "; ".join(v.reasons)) for v in saved]
    return tuple(sorted(rows, key=lambda row: row.time))


def check_rows(verdict: dict[str, Any]) -> tuple[CheckRow, ...]:
    """The checks of a verdict's dictionary; what a check does not have stays unknown."""
    rows = []
    for item in verdict.get("checks") or ():
        known = {key: item[key] for key in CheckRow.__dataclass_fields__ if item.get(key) is not None}
        known.setdefault("metric", str(item.get("name", "")))
        known.setdefault("decision", "")
        rows.append(CheckRow(**known))
    return tuple(rows)


def disagreements(settings: Settings, state: RolloutState) -> tuple[Disagreement, ...]:
    """The worst of stable and canary, and of stable and shadow: of both the worst, then of both the second one."""
    kept = Worst(settings.state_dir, state.experiment).entries()
    versions = (state.plan.canary, state.plan.shadow.version if state.plan.shadow else None)
    ranked = zip_longest(*([item for item in kept if item.version == version] for version in versions))
    return tuple(_disagreement(state, item) for items in ranked for item in items if item is not None)


def _disagreement(state: RolloutState, item: Kept) -> Disagreement:
    return Disagreement(
        request_id=item.request_id,
        task=item.task,
        left=Answer(state.stable, item.left),
        right=Answer(item.version, item.right),
        index=item.index,
        time=item.time,
        distance=item.distance,
        image=_content(item.image),
    )


def _content(path: Path | None) -> bytes | None:
    with suppress(OSError):  # gone since it was listed
        return path.read_bytes() if path is not None else None
    return None
