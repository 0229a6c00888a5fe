"""`slipway route MODEL --html FILE`: what the report shows, gathered from the rollout, its last look and the store."""

from __future__ import annotations

import time
from pathlib import Path

from routing.controller.database import opened
from routing.controller.report_rows import check_rows, disagreements, past, step_rows
from routing.controller.seen import Seen, read_seen
from routing.report.build import complete
from routing.report.data import ArmRow, Outcome, Place, ReportData, Traffic, VerdictView, Versions
from routing.report.page import render
from routing.rollout import control
from routing.rollout import state as states
from routing.rollout.state import RolloutState
from routing.store import Store
from routing.store.history import exposure_series, verdicts
from slipway.errors import OutputUnwritable, StoreUnavailable
from slipway.settings import Settings

#: Points of a picture over time, about: the series is cut into pieces that give so many.
_POINTS = 240


def write_report(settings: Settings, model: str, out: Path) -> None:
    """Raises ExperimentUnknown, ModelNotFound, OutputUnwritable; without a database the report says so."""
    state = control.current(settings, model)
    page = render(gather(settings, state))
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise OutputUnwritable("the report cannot be written", observed=f"{out}: {problem.strerror}") from problem


def gather(settings: Settings, state: RolloutState) -> ReportData:
    """Everything of one rollout."""
    seen = read_seen(settings, state.model, state.experiment)
    values = _of_state(settings, state) | _of_seen(state, seen)
    try:
        with opened(settings) as store:
            data = ReportData(**(values | _of_store(state, store)))  # type: ignore[arg-type]
            return complete(data, state, store)
    except StoreUnavailable as problem:
        values["problem"] = str(problem)
    return ReportData(**values)  # type: ignore[arg-type]


def _shown(settings: Settings, path: Path) -> str:
    """Below the project without it: reports travel to other machines."""
    return str(path.relative_to(settings.root) if path.is_relative_to(settings.root) else path)


def _of_state(settings: Settings, state: RolloutState) -> dict[str, object]:
    plan = state.plan
    folder = settings.repository / state.model
    return {
        "model": state.model,
        "experiment": state.experiment,
        "salt": state.salt,
        "status": state.status,
        "versions": Versions(state.stable, plan.canary, plan.shadow.version if plan.shadow else None),
        "started": state.started,
        "ended": None if state.active else state.ended,
        "made": time.time(),
        "reasons": state.reasons,
        "steps": step_rows(state),
        "step": state.step,
        "disagreements": disagreements(settings, state),
        "reproduce": (
            Place("the same figures", f"slipway route {state.model} --status --json"),
            Place("the state of the rollout", _shown(settings, states.path_of(settings.repository, state.model))),
            Place("the experiment as the edge has it", _shown(settings, folder / "experiment.json")),
            Place("every transition", _shown(settings, settings.state_dir / "logs" / "routing.jsonl")),
        ),
    }


def _of_seen(state: RolloutState, seen: Seen | None) -> dict[str, object]:
    if seen is None:
        return {"problem": "nothing was seen of it yet"}
    shares = {"stable": 1 - state.share, "canary": state.share}
    arms = tuple(
        ArmRow(
            version=arm["version"],
            share=shares[arm["arm"]] if state.active else None,
            **{key: arm[key] for key in ("requests", "errors", "p50_ms", "p99_ms", "labelled", "correct")},
            answers=arm["answers"],
            not_finite=arm["not_finite"],
        )
        for arm in seen.arms
    )
    outcomes = tuple(
        Outcome(name, arm["version"], rate["trials"], rate["hits"])
        for arm in seen.arms
        for name, rate in arm["outcomes"].items()
    )
    verdict = None
    if seen.verdict is not None:
        reasons = tuple(map(str, seen.verdict["reasons"]))
        verdict = VerdictView(seen.verdict["decision"], reasons, check_rows(seen.verdict), seen.time)
    canary = next((arm for arm in seen.arms if arm["arm"] == "canary"), None)
    return {
        "arms": arms,
        "outcomes": outcomes,
        "verdict": verdict,
        "problem": seen.problem or "",
        "shadow_copies": seen.shadow["edge"] if seen.shadow is not None else None,
        "failed": canary["errors"] if canary and state.plan.canary else None,
    }


def _of_store(state: RolloutState, store: Store) -> dict[str, object]:
    until = time.time() if state.active else state.ended
    interval = max(1, round((until - state.started) / _POINTS))
    series = exposure_series(store, state.experiment, seconds=interval)
    return {
        "interval": float(interval),
        "traffic": tuple(Traffic(p.start, p.version, p.requests, p.errors, p.p50_ms, p.p99_ms) for p in series),
        "history": past(state, verdicts(store, state.experiment)),
    }
