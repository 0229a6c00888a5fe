"""A/A experiments: how often anything is found where nothing is, at any of the looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from routing.statistics import ratio
from routing.statistics.simulate import latency, ramp, streams

RATES = (0.001, 0.01, 0.05, 0.5)
SHARES = (0.01, 0.1, 0.5)
LOOKS, BATCH = 60, 500
#: What a version's failures may exceed the stable one's by, where a false promotion is provoked.
MARGIN = 0.01
#: The stable version's rate in the steps of a walk.
RAMPS = {
    "0.5%, last step 3%": (0.005, 0.005, 0.005, 0.03),
    "5%, from 25% on 0.5%": (0.05, 0.05, 0.005, 0.005),
}


@dataclass(frozen=True)
class FalseAlarm:
    """``found``: share of experiments, ``peeking``: of the usual one-look test used at every look (None: not run)."""

    test: str
    case: str
    share: float
    looks: int
    found: float
    peeking: float | None = None


def all_of(rng: np.random.Generator, experiments: int, alpha: float) -> list[FalseAlarm]:
    """Every case, each with ``experiments`` experiments."""
    rows = [abort(rng, experiments, alpha, rate, share) for rate in RATES for share in SHARES]
    rows += [promotion(rng, experiments, alpha, rate, share) for rate in RATES[1:] for share in SHARES[1:]]
    rows += [slow(rng, experiments, alpha, share) for share in SHARES[1:]]
    rows += [ramp_abort(rng, experiments, alpha, case, rates) for case, rates in RAMPS.items()]
    rows += [ramp_promotion(rng, experiments, alpha, case, rates) for case, rates in RAMPS.items()]
    rows += [ramp_slow(rng, experiments, alpha), drifting(rng, experiments, alpha)]
    return rows + [mismatch(rng, experiments, alpha, share) for share in SHARES] + [walk(rng, experiments, alpha)]


def abort(rng: np.random.Generator, experiments: int, alpha: float, rate: float, share: float) -> FalseAlarm:
    """Both versions fail at ``rate``: the null's border, where an abort is likeliest."""
    seen = streams.rates(rng, experiments, np.full(LOOKS, BATCH), share, rate, rate)
    naive = streams.z_values(seen) > stats.norm.ppf(1 - alpha)
    return _row("abort: rate", f"{rate:.1%}", share, streams.apart(seen, alpha), naive)


def promotion(rng: np.random.Generator, experiments: int, alpha: float, rate: float, share: float) -> FalseAlarm:
    """The canary fails MARGIN more often, just what must not be promoted."""
    seen = streams.rates(rng, experiments, np.full(LOOKS, BATCH), share, rate, rate + MARGIN)
    found = streams.apart(streams.mirrored(seen), alpha, -MARGIN)
    return _row("promotion: rate", f"{rate:.1%} and {rate + MARGIN:.1%}", share, found)


def slow(rng: np.random.Generator, experiments: int, alpha: float, share: float) -> FalseAlarm:
    """Latencies of one distribution, margin 0."""
    batch = 400
    batches = (round(batch * (1 - share)), round(batch * share))
    return _row("abort: p99", "lognormal", share, latency.harm(rng, experiments, batches, 50, alpha))


def ramp_abort(
    rng: np.random.Generator, experiments: int, alpha: float, case: str, rates: tuple[float, ...]
) -> FalseAlarm:
    """Both versions fail alike at any time; beside it the one-look test of counts that are added up."""
    seen = list(ramp.looks(rng, experiments, rates, 0.0))
    naive = np.concatenate([streams.z_values(ramp.added(now)) > stats.norm.ppf(1 - alpha) for now in seen], axis=1)
    when, _ = ramp.first(iter(seen), alpha)
    return _ramped("abort: rate, walk", case, float(np.isfinite(when).mean()), float(naive.any(axis=1).mean()))


def ramp_promotion(
    rng: np.random.Generator, experiments: int, alpha: float, case: str, rates: tuple[float, ...]
) -> FalseAlarm:
    """The canary fails MARGIN more often at any time."""
    seen = map(streams.mirrored, ramp.looks(rng, experiments, rates, MARGIN))
    when, _ = ramp.first(seen, alpha, -MARGIN)
    return _ramped("promotion: rate, walk", case, float(np.isfinite(when).mean()))


def ramp_slow(rng: np.random.Generator, experiments: int, alpha: float) -> FalseAlarm:
    """Latencies of one distribution in each step, margin 0; every step is compared by itself."""
    found = np.zeros(experiments, dtype=bool)
    for step, share in enumerate(ramp.SHARES):
        batches = (round(ramp.BATCH * (1 - share)), round(ramp.BATCH * share))
        level = alpha / ((step + 1) * (step + 2))
        median = 2.5 if step == len(ramp.SHARES) - 1 else 1.0
        found |= latency.harm(rng, experiments, batches, ramp.LOOKS, level, median, stable=median).any(axis=1)
    return _ramped("abort: p99, walk", "last step 2.5 times slower", float(found.mean()))


def drifting(rng: np.random.Generator, experiments: int, alpha: float) -> FalseAlarm:
    """Both versions fail alike, and six times as often in the second half, while the share stays the same."""
    rates = np.where(np.arange(LOOKS) < LOOKS // 2, 0.005, 0.03)
    seen = streams.rates(rng, experiments, np.full(LOOKS, BATCH), 0.1, rates, rates)
    return _row("abort: rate", "0.5%, then 3%", 0.1, streams.apart(seen, alpha))


def mismatch(rng: np.random.Generator, experiments: int, alpha: float, share: float) -> FalseAlarm:
    """Units that see the canary with the declared share."""
    units = np.arange(1, LOOKS + 1) * 200
    canary = np.cumsum(rng.binomial(200, share, (experiments, LOOKS)), axis=1)
    z = (canary - units * share) / np.sqrt(units * share * (1 - share))
    found = ratio.log_e_of(share, canary, units) >= -np.log(alpha)
    return _row("sample ratio", "one share", share, found, z**2 > stats.chi2.ppf(1 - alpha, 1))


def walk(rng: np.random.Generator, experiments: int, alpha: float) -> FalseAlarm:
    """Shares 1, 5, 25 and 50 %; half of each step's units were seen in the steps before, and stay where they were."""
    buckets = rng.random((experiments, 3000))
    found = np.zeros((experiments, 4 * 15), dtype=bool)
    for step, share in enumerate((0.01, 0.05, 0.25, 0.5)):
        seen = np.cumsum(buckets[:, 500 * step : 500 * step + 1500] < share, axis=1)[:, 99::100]
        evidence = ratio.log_e_of(share, seen, np.arange(100, 1501, 100)) - np.log((step + 1) * (step + 2))
        found[:, step * 15 : step * 15 + 15] = evidence >= -np.log(alpha)
    return _row("sample ratio", "1, 5, 25, 50 %", float("nan"), found)


def _ramped(test: str, case: str, found: float, peeking: float | None = None) -> FalseAlarm:
    return FalseAlarm(test, case, float("nan"), len(ramp.SHARES) * ramp.LOOKS, found, peeking)


def _row(test: str, case: str, share: float, found: np.ndarray, naive: np.ndarray | None = None) -> FalseAlarm:
    peeking = None if naive is None else float(naive.any(axis=1).mean())
    return FalseAlarm(test, case, share, found.shape[1], float(found.any(axis=1).mean()), peeking)
