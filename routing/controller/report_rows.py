"""Rows of the report that need more than a copy: steps, changes, checks, disagreements with their images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from routing.report.data import Answer, CheckRow, Disagreement, PastVerdict, StepRow
from routing.rollout.state import RolloutState
from routing.store import Store
from routing.store.history import SavedVerdict
from routing.store.pairs import Comparison, worst_comparisons
from routing.store.tables import predictions
from slipway.settings import Settings

#: Disagreements shown; each may hold an image.
_WORST = 12


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
    last = ""
    for verdict in saved:
        if verdict.decision != last:
            text = "; ".join(map(str, verdict.body.get("reasons", ())))
            rows.append(PastVerdict(verdict.time, verdict.step, verdict.decision, text))
        last = verdict.decision
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


def disagreements(settings: Settings, state: RolloutState, store: Store) -> tuple[Disagreement, ...]:
    """The worst of stable and canary, or shadow; raises StoreUnavailable."""
    shadow = state.plan.shadow.version if state.plan.shadow else None
    found = []
    for other in (state.plan.canary, shadow):
        if other is not None:
            worst = worst_comparisons(store, state.model, state.stable, other, state.started, _WORST)
            found += [
                _disagreement(settings, state, other, item, _answers(store, state.model, item))
                for item in worst
                if item.agree is False
            ]
    return tuple(item for item in found if item is not None)[:_WORST]


def _disagreement(
    settings: Settings, state: RolloutState, other: int, item: Comparison, answers: dict[int, Any]
) -> Disagreement | None:
    left, right = answers.get(state.stable), answers.get(other)
    if left is None or right is None:
        return None
    return Disagreement(
        request_id=item.request_id,
        task=left.task or "",
        left=Answer(state.stable, left.summary, left.code),
        right=Answer(other, right.summary, right.code),
        index=item.index,
        time=item.time,
        distance=item.distance,
        image=_image(settings, item),
    )


def _answers(store: Store, model: str, item: Comparison) -> dict[int, Any]:
    table = predictions.c
    query = select(table.version, table.task, table.summary, table.code).where(
        table.request_id == item.request_id, table.model == model, table.index == item.index
    )
    with store.begin() as connection:
        return {row.version: row for row in connection.execute(query)}


def _image(settings: Settings, item: Comparison) -> bytes | None:
    name = hashlib.sha256(item.request_id.encode()).hexdigest()[:32]
    try:
        return (settings.state_dir / "predictions" / "images" / f"{name}-{item.index}").read_bytes()
    except OSError:
        return None
