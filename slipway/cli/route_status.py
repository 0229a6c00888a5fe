"""What `slipway route --status` shows: the rollout's own state, and what the controller saw last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slipway.cli.fleet_status import only, print_servers
from slipway.cli.output import print_line, print_table

if TYPE_CHECKING:
    from routing.controller.seen import Seen
    from routing.rollout.state import RolloutState
    from slipway.errors import SlipwayError
    from slipway.settings import Settings

#: What was seen before this many seconds is said to be old.
_OLD_SECONDS = 15.0


def brief(state: RolloutState, seen: Seen | None = None) -> dict[str, Any]:
    """A rollout in JSON-ready values. ``reasons``: of now, as far as ``seen`` has them; ``began``: of its state."""
    step = state.now_at
    return {
        "model": state.model,
        "status": state.status,
        "active": state.active,
        "experiment": state.experiment,
        "salt": state.salt,
        "stable": state.stable,
        "canary": state.plan.canary,
        "share": state.share,
        "step": state.step,
        "steps": [{"share": item.share, "bake": item.bake} for item in state.plan.walk],
        "bake_left": _bake_left(state) if step is not None and state.active else None,
        "auto": state.plan.auto,
        "shadow": state.plan.shadow.model_dump() if state.plan.shadow else None,
        "reasons": _reasons(state, seen),
        "began": list(state.reasons),
        "plan": state.plan.to_dict(),
        "history": [item.model_dump() for item in state.history],
    }


def _reasons(state: RolloutState, seen: Seen | None) -> list[str]:
    """The state keeps why it began to hold, which holds numbers; a look later others may be true."""
    if state.status == "holding" and seen is not None:
        if seen.problem:
            return [seen.problem]
        if seen.verdict is not None and seen.verdict["decision"] == "hold":
            return [str(reason) for reason in seen.verdict["reasons"]]
    return list(state.reasons)


def one(settings: Settings, model: str) -> dict[str, Any]:
    """A rollout with what was seen of it; raises ExperimentUnknown, ModelNotFound."""
    from dataclasses import asdict

    from routing.controller import heartbeat
    from routing.controller.companion import ensure_controller
    from routing.controller.seen import read_seen
    from routing.rollout import control

    state = control.current(settings, model)
    if state.active:
        # a command line that was killed between a rollout's start and this has left it without
        ensure_controller(settings)
    seen = read_seen(settings, model, state.experiment)
    return {
        **brief(state, seen),
        "seen": asdict(seen) if seen is not None else None,
        "controller": heartbeat.says(settings),
        "servers": _servers(settings, state),
    }


def _servers(settings: Settings, state: RolloutState) -> list[dict[str, Any]]:
    """What the other servers have of the rollout's versions; empty without other servers, or when nothing is served."""
    from serving.state import running_state

    served = running_state(settings.state_dir)
    found = served.to_dict()["servers"] if served is not None else []
    shadow = state.plan.shadow.version if state.plan.shadow else None
    return only(found, state.model, (state.stable, state.plan.canary, shadow))


def every(settings: Settings) -> list[dict[str, Any]]:
    """Every rollout of the repository, over or not, in brief; one that cannot be read has an ``error``."""
    from routing.controller.seen import read_seen
    from routing.rollout import control
    from routing.rollout.state import rolled_out
    from slipway.errors import SlipwayError

    def row(model: str) -> dict[str, Any]:
        try:
            state = control.current(settings, model)
            return brief(state, read_seen(settings, model, state.experiment))
        except SlipwayError as problem:
            return _unreadable(model, problem)

    return [row(model) for model in rolled_out(settings.repository)]


def _unreadable(model: str, problem: SlipwayError) -> dict[str, Any]:
    """A row for a rollout of which nothing is known but that."""
    nothing = dict.fromkeys(("stable", "canary", "share", "shadow"))
    return {"model": model, "status": "unreadable", **nothing, "reasons": [str(problem)], "error": problem.to_dict()}


def arms_of(state: RolloutState) -> str:
    """The traffic in words."""
    from routing.plan.share import show_share

    if state.status == "promoted":
        return f"version {state.plan.canary} answers all units"
    if not state.active:
        return f"version {state.stable} answers all units"
    parts = [f"version {state.plan.canary} {show_share(state.share)}"] if state.plan.canary else []
    parts += [f"shadow version {state.plan.shadow.version}"] if state.plan.shadow else []
    return ", ".join([f"stable version {state.stable}", *parts])


def print_list(values: list[dict[str, Any]]) -> None:
    """All rollouts as a table."""
    rows = [
        (
            item["model"],
            item["status"],
            item["stable"],
            item["canary"],
            f"{item['share']:.4g}" if item["canary"] else None,
            item["shadow"]["version"] if item["shadow"] else None,
            "; ".join(item["reasons"]),
        )
        for item in values
    ]
    print_table("Rollouts", ["model", "status", "stable", "canary", "share", "shadow", "why"], rows)


def print_one(values: dict[str, Any]) -> None:
    """One rollout: a line, its arms, its guardrails and checks, its verdict."""
    line = f"{values['model']}: {values['status']}"
    if values["canary"] is not None:
        line += f", step {values['step'] + 1} of {len(values['steps'])} at {values['share']:.2%}"
        line += f", {values['bake_left']:.0f} s of its bake left" if values["bake_left"] else ""
    print_line(line + (", follows the verdict" if values["auto"] else ""))
    for reason in values["reasons"]:
        print_line(f"  {reason}")
    if values["began"] != values["reasons"]:
        print_line(f"  it began to hold for: {'; '.join(values['began'])}")
    print_servers(values["servers"])
    seen = values["seen"]
    if seen is None:
        print_line("  nothing was seen of it yet")
        return
    age = time.time() - seen["time"]
    if values["active"] and age > _OLD_SECONDS:
        print_line(f"  seen {age:.0f} s ago: {values['controller']}")
    if seen["problem"] and seen["problem"] not in values["reasons"]:
        print_line(f"  {seen['problem']}")
    _print_arms(values, seen)
    _print_verdict(seen, values["reasons"])


def _print_arms(values: dict[str, Any], seen: dict[str, Any]) -> None:
    shares = {"stable": 1 - values["share"], "canary": values["share"]}
    rows = [
        (
            arm["arm"],
            arm["version"],
            f"{shares[arm['arm']]:.2%}" if values["active"] else None,
            arm["requests"],
            _rate(arm["errors"], arm["requests"]),
            _rate(arm["not_finite"], arm["answers"]),
            *(f"{arm[key]:.1f}" if arm[key] is not None else None for key in ("p50_ms", "p95_ms", "p99_ms")),
            _rate(arm["correct"], arm["labelled"]),
        )
        for arm in seen["arms"]
        if arm["arm"] == "stable" or values["canary"] is not None
    ]
    if rows:
        columns = ["arm", "version", "share", "requests", "errors", "not finite", "p50 ms", "p95", "p99", "correct"]
        print_table("Traffic", columns, rows)
    if values["canary"] is not None and seen["agreement"] and seen["agreement"]["trials"]:
        print_line(f"  canary version {values['canary']}: {_agreement(seen['agreement'])}")
    if seen["shadow"] is not None:
        _print_shadow(seen["shadow"])


def _print_shadow(seen: dict[str, Any]) -> None:
    line = f"  shadow version {seen['version']}: "
    if seen["copies"]:
        failed = sum(seen["failures"].values())
        line += f"{_agreement(seen['agreement'])}, failed {_rate(failed, seen['copies'])} of {seen['copies']} copies"
        codes = ", ".join(f"{code} {count}" for code, count in sorted(seen["failures"].items()))
        print_line(line + (f": {codes}" if codes else ""))
    else:
        print_line(line + "no answer of it was noted yet")
    if edge := seen["edge"]:
        counts = f"{edge['waiting']} wait for an answer, {edge['failed']} failed; {edge['dropped']} more were dropped"
        print_line(f"    since the edge started: {edge['sent']} copies sent, {counts}")


def _agreement(rate: dict[str, int]) -> str:
    return f"agreement {_rate(rate['hits'], rate['trials']) or 'unknown'} of {rate['trials']} pairs"


def _print_verdict(seen: dict[str, Any], said: list[str]) -> None:
    """``said``: reasons that stand above already."""
    verdict = seen["verdict"]
    if verdict is None:
        return
    checks = [item for item in verdict.get("checks") or () if isinstance(item, dict)]
    if checks:
        columns = [key for key in checks[0] if all(not isinstance(item.get(key), (dict, list)) for item in checks)]
        print_table("Checks", columns, [[_cell(item.get(key)) for key in columns] for item in checks])
    print_line(f"verdict so far: {verdict['decision']}")
    for reason in () if verdict["reasons"] == said else verdict["reasons"]:
        print_line(f"  {reason}")


def _cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _rate(hits: int, trials: int) -> str | None:
    return f"{hits} ({hits / trials:.2%})" if trials else None


def _bake_left(state: RolloutState) -> float:
    step = state.now_at
    return max(0.0, state.step_started + (step.bake or 0.0) - time.time()) if step is not None else 0.0
