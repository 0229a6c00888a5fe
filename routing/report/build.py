"""A report completed from the store: units, intervals, rulings, curves over time and the requests that were affected.

The rest of it (the rollout's state, the last look, the series, disagreements) is gathered by the controller's room.
Confidence sequences are those that the verdict is made with, at the alpha of the plan's rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from routing.observations import Rate, ShadowSeen
from routing.report.data import ArmRow, Band, Curve, Failure, ReportData
from routing.report.ruled import compared, difference_curves, guardrails, sample_ratio, with_units
from routing.report.series import coarse, thin
from routing.rollout.state import RolloutState
from routing.statistics.bernoulli import confidence_sequence
from routing.store import Store
from routing.store.history import checks
from routing.store.pairs import shadow_seen

#: Affected requests that are listed: the newest.
_FAILURES = 20
_UNITS = "SELECT version, count(*) AS n FROM units WHERE experiment = :experiment GROUP BY 1"
#: Of the shadow: nobody is assigned to it, so it has predictions and no exposures.
_RECORDED = """
SELECT count(*) AS n, count(*) FILTER (WHERE not_finite) AS not_finite FROM predictions
WHERE model = :model AND version = :version AND time >= :since AND time < :until
"""
#: Agreement so far: pairs of pieces of time, to be added up.
_AGREEMENT = """
SELECT floor(time / :seconds) * :seconds + :seconds AS stop, count(agree) AS n, count(*) FILTER (WHERE agree) AS hits
FROM comparisons
WHERE model = :model AND version_a = least(:a, :b) AND version_b = greatest(:a, :b)
  AND agree IS NOT NULL AND time >= :since AND time < :until
GROUP BY 1 ORDER BY 1
"""
#: What the client got: an answer, of whichever version, or none.
_ANSWERED = "(status BETWEEN 200 AND 299 AND coalesce(grpc_status, 0) = 0)"
_OF_CANARY = "experiment = :experiment AND why IN ('arm', 'stable') AND assigned = :canary AND failed"
_FAILED = f"SELECT count(*) AS n, count(*) FILTER (WHERE NOT {_ANSWERED}) AS lost FROM exposures WHERE {_OF_CANARY}"  # noqa: S608 - ours
_FAILURE_ROWS = f"""
SELECT request_id, time, code, status, answered, {_ANSWERED} AS good FROM exposures
WHERE {_OF_CANARY} ORDER BY time DESC LIMIT :limit
"""  # noqa: S608 - constants of ours


def complete(data: ReportData, state: RolloutState, store: Store) -> ReportData:
    """``data``, as it was gathered of ``state``, with what only the store knows. Raises StoreUnavailable."""
    rules, found = state.plan.rules, coarse(data)
    saved, shadow = checks(store, state.experiment, list(compared(rules))), _shadow(store, state)
    with store.begin() as connection:
        units = {row.version: row.n for row in connection.execute(text(_UNITS), {"experiment": state.experiment})}
        arms = tuple(_arm(arm, units, rules.alpha) for arm in data.arms)
        agreements = tuple(_agreements(connection, state, found))
        known = _with_failures(connection, state, replace(data, arms=arms))
        known = _with_shadow(connection, state, known, shadow) if shadow is not None else known
    versions = [version for version in (data.versions.stable, data.versions.canary) if version is not None]
    judged = data.verdict.checks if data.verdict is not None else ()
    return replace(
        known,
        sample_ratio=data.sample_ratio or sample_ratio(judged, rules),
        guardrails=data.guardrails or guardrails(judged, rules),
        verdict=with_units(data.verdict, rules) if data.verdict is not None else None,
        error_rates=tuple(_errors(found, version, rules.alpha) for version in versions),
        differences=difference_curves(saved, rules),
        agreements=agreements,
    )


def _shadow(store: Store, state: RolloutState) -> ShadowSeen | None:
    if state.plan.shadow is None:
        return None
    return shadow_seen(store, state.model, state.stable, state.plan.shadow.version, state.started, _until(state))


def _arm(arm: ArmRow, units: dict[int, int], alpha: float) -> ArmRow:
    lower, upper = confidence_sequence(Rate(arm.requests, arm.errors), alpha) if arm.requests else (None, None)
    return replace(arm, units=units.get(arm.version, 0), error_lower=lower, error_upper=upper)


def _with_shadow(connection: Connection, state: RolloutState, data: ReportData, seen: ShadowSeen) -> ReportData:
    """The shadow's row; where there is no canary, it takes the row of one that has no requests of its own."""
    values = {"model": state.model, "version": seen.version, "since": state.started, "until": _until(state)}
    row = connection.execute(text(_RECORDED), values).one()
    own = ArmRow(seen.version, requests=seen.copies, errors=seen.failed, answers=row.n, not_finite=row.not_finite)
    others = tuple(arm for arm in data.arms if arm.version != seen.version)
    return replace(data, arms=(*others, own), shadow_failures=seen.failures)


def _until(state: RolloutState) -> float:
    return float("inf") if state.active else state.ended


def _errors(data: ReportData, version: int, alpha: float) -> Curve:
    """The error rate so far, after each piece of time."""
    rows = sorted((row for row in data.traffic if row.version == version), key=lambda row: row.start)
    return Curve(
        "errors",
        _so_far([(row.start + data.interval, row.requests, row.errors) for row in rows], alpha),
        "rate",
        version,
    )


def _agreements(connection: Connection, state: RolloutState, data: ReportData) -> Iterator[Curve]:
    """Of the canary, with what the rules want of it, and of the shadow; of those that were compared."""
    rules, shadow = state.plan.rules, state.plan.shadow.version if state.plan.shadow else None
    for other in (state.plan.canary, shadow):
        values = {"model": state.model, "a": state.stable, "b": other, "since": state.started, "until": _until(state)}
        rows = connection.execute(text(_AGREEMENT), {**values, "seconds": data.interval}).all()
        if rows:
            bands = _so_far([(row.stop, row.n, row.hits) for row in rows], rules.alpha)
            limit = rules.agreement_min if other == (state.plan.canary or shadow) else None
            yield Curve("agreement", bands, "rate", other, limit)


def _so_far(pieces: Sequence[tuple[float, int, int]], alpha: float) -> tuple[Band, ...]:
    """Bands of (time, trials, hits) added up."""
    sums, trials, hits = [], 0, 0
    for at, more, good in pieces:
        trials, hits = trials + more, hits + good
        sums.append((at, Rate(trials, hits)))
    return tuple(_band(at, seen, alpha) for at, seen in thin(sums) if seen.trials)


def _band(at: float, seen: Rate, alpha: float) -> Band:
    return Band(at, seen.hits / seen.trials, *confidence_sequence(seen, alpha))


def _with_failures(connection: Connection, state: RolloutState, data: ReportData) -> ReportData:
    canary = state.plan.canary
    if canary is None:
        return data
    values = {"experiment": state.experiment, "canary": canary, "limit": _FAILURES}
    counted = connection.execute(text(_FAILED), values).one()
    rows = [
        Failure(
            row.request_id,
            row.time,
            canary,
            row.code or ("" if row.good else f"status {row.status}"),
            row.answered if row.good else None,
        )
        for row in connection.execute(text(_FAILURE_ROWS), values)
    ]
    return replace(data, failed=counted.n, unanswered=counted.lost, failures=tuple(rows))
