"""What the controller saw last, as a file: the command line shows it without the database, also while that is down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from routing.controller import places
from routing.observations import ArmSeen, Observations
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict
from slipway.files import write_atomically
from slipway.settings import Settings


@dataclass(frozen=True)
class Seen:
    """One look at one rollout. ``time``: epoch seconds. ``arms``: of stable and canary, counts and latencies.

    ``agreement``: of the pairs that the verdict is made of. ``shadow``: as ShadowSeen. ``problem``: why nothing could
    be seen, None when it could.
    """

    model: str
    experiment: str
    time: float
    arms: tuple[dict[str, Any], ...] = ()
    agreement: dict[str, int] | None = None
    splits: tuple[dict[str, Any], ...] = ()
    unreadable: dict[str, str] | None = None
    shadow: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    problem: str | None = None

    @classmethod
    def of(cls, state: RolloutState, seen: Observations, verdict: Verdict, now: float) -> Seen:
        """A summary in JSON-ready values: of the latencies, only their number and quantiles."""
        return cls(
            model=state.model,
            experiment=state.experiment,
            time=now,
            arms=(_arm("stable", seen.stable), _arm("canary", seen.canary)),
            agreement=asdict(seen.agreement),
            splits=tuple(asdict(item) for item in seen.splits),
            unreadable=dict(seen.unreadable),
            shadow=asdict(seen.shadow) if seen.shadow is not None else None,
            verdict=verdict.to_dict(),
        )


def write_seen(settings: Settings, seen: Seen) -> None:
    """Replaces the file of this model."""
    path = places.seen(settings, seen.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(seen)))


def read_seen(settings: Settings, model: str, experiment: str) -> Seen | None:
    """What was seen of this very experiment; None when nothing was, or the file cannot be read."""
    try:
        seen = Seen(**json.loads(places.seen(settings, model).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return seen if seen.experiment == experiment else None


def _arm(name: str, arm: ArmSeen) -> dict[str, Any]:
    p50, p95, p99 = (arm.latencies_ms.quantile(q) for q in (0.5, 0.95, 0.99))
    return {
        "arm": name,
        "version": arm.version,
        "requests": arm.errors.trials,
        "errors": arm.errors.hits,
        "not_finite": arm.not_finite.hits,
        "answers": arm.not_finite.trials,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "labelled": arm.correct.trials,
        "correct": arm.correct.hits,
        "outcomes": {key: asdict(rate) for key, rate in arm.outcomes.items()},
    }
