"""Known effects: how often they are found, after how many of the canary's requests, and what one planned look needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

from routing.statistics.simulate import latency, ramp, streams

POWER = 0.8
LOOKS = 80
#: Effect, the stable version's rate, the canary's, canary's share of traffic.
EFFECTS = (
    ("error rate 1 % -> 2 %", 0.01, 0.02, 0.1),
    ("error rate 1 % -> 2 %", 0.01, 0.02, 0.5),
    ("error rate 1 % -> 5 %", 0.01, 0.05, 0.1),
    ("error rate 0.1 % -> 5 %", 0.001, 0.05, 0.01),
    ("accuracy 97 % -> 94 %", 0.03, 0.06, 0.1),
    ("accuracy 97 % -> 94 %", 0.03, 0.06, 0.5),
)
#: Effect, the stable version's rates by step of a walk, how much worse the canary is, what it is to be shown within.
WALKS = (
    ("+1.5 points, walk, 5 % falling to 0.5 %", (0.05, 0.05, 0.005, 0.005), 0.015, None),
    ("+1 point, walk, 1 %", (0.01,) * 4, 0.01, None),
    ("good, within 1 %, walk, 0.5 % rising to 3 %", (0.005, 0.005, 0.005, 0.03), 0.0, 0.01),
    ("good, within 1 %, walk, 1 %", (0.01,) * 4, 0.0, 0.01),
)


@dataclass(frozen=True)
class Found:
    """``median``, ``late``: requests of the canary until half and nine in ten experiments have found it.

    ``fixed``: what one look, planned beforehand, needs at power 0.8. ``universal``: the median of universal inference.
    """

    effect: str
    share: float
    found: float
    median: float
    late: float
    fixed: float
    universal: float | None = None


def all_of(rng: np.random.Generator, experiments: int, alpha: float) -> list[Found]:
    """Every effect."""
    rows = [worse(rng, experiments, alpha, *effect) for effect in EFFECTS]
    rows += [fine(rng, experiments, alpha, rate, margin, 0.1) for rate, margin in ((0.001, 0.01), (0.01, 0.01))]
    rows += [walked(rng, min(experiments, 100), alpha, *case) for case in WALKS]
    return [*rows, slower(rng, experiments, alpha, 1.3, 0.1), slower(rng, experiments, alpha, 2.0, 0.1)]


def worse(
    rng: np.random.Generator, experiments: int, alpha: float, effect: str, p_s: float, p_c: float, share: float
) -> Found:
    """Harm, margin 0, looked at LOOKS times until six times the fixed sample."""
    fixed = planned(p_s, p_c, share, alpha)
    seen = streams.rates(rng, experiments, _batches(6 * fixed / share), share, p_s, p_c)
    plain = streams.first(streams.universal(seen) >= -np.log(alpha))
    return _row(effect, share, seen, streams.first_apart(seen, alpha), fixed, plain)


def fine(rng: np.random.Generator, experiments: int, alpha: float, rate: float, margin: float, share: float) -> Found:
    """A good canary, until its failures are shown to be within ``margin``."""
    z = stats.norm.ppf(1 - alpha) + stats.norm.ppf(POWER)
    fixed = float(rate * (1 - rate) * (1 + share / (1 - share)) * (z / margin) ** 2)
    seen = streams.rates(rng, experiments, _batches(max(12 * fixed, 2000) / share), share, rate, rate)
    when = streams.first_apart(streams.mirrored(seen), alpha, -margin)
    return _row(f"good: {rate:.1%} of both, within {margin:.0%}", share, seen, when, fixed)


def slower(rng: np.random.Generator, experiments: int, alpha: float, factor: float, share: float) -> Found:
    """A canary whose latencies are ``factor`` times as long, margin 0."""
    fixed = latency.fixed_sample(factor, share, alpha, POWER)
    canary = max(20, round(max(8 * fixed, 1500) / LOOKS))
    batches = (round(canary * (1 - share) / share), canary)
    few = min(experiments, 500)
    when = streams.first(latency.harm(rng, few, batches, LOOKS, alpha, factor))
    requests = np.where(when < LOOKS, (when + 1.0) * canary, np.inf)
    return Found(f"p99 {factor - 1:+.0%}", share, float((when < LOOKS).mean()), *_quantiles(requests), fixed)


def walked(
    rng: np.random.Generator,
    experiments: int,
    alpha: float,
    effect: str,
    rates: tuple[float, ...],
    worse: float,
    within: float | None,
) -> Found:
    """A walk of 10,000 requests a step, until harm is shown, or failures ``within`` that much."""
    seen = ramp.looks(rng, experiments, rates, worse)
    if within is None:
        when, requests = ramp.first(seen, alpha)
    else:
        when, requests = ramp.first(map(streams.mirrored, seen), alpha, -within)
    return Found(effect, math.nan, float(np.isfinite(when).mean()), *_quantiles(requests), math.nan)


def planned(p_s: float, p_c: float, share: float, alpha: float) -> float:
    """The canary's requests in one look: statsmodels' sample size, which counts the arm named first."""
    size = samplesize_proportions_2indep_onetail(
        p_c - p_s, p_s, POWER, ratio=(1 - share) / share, alpha=alpha, alternative="larger"
    )
    return float(size)


def _batches(total: float) -> np.ndarray:
    return np.full(LOOKS, max(1, round(total / LOOKS)))


def _row(
    effect: str,
    share: float,
    seen: streams.Streams,
    when: np.ndarray,
    fixed: float,
    plain: np.ndarray | None = None,
) -> Found:
    median, late = _quantiles(_requests(seen, when))
    universal = None if plain is None else _quantiles(_requests(seen, plain))[0]
    return Found(effect, share, float((when < LOOKS).mean()), median, late, fixed, universal)


def _requests(seen: streams.Streams, when: np.ndarray) -> np.ndarray:
    trials = np.concatenate([seen.canary.trials, np.full((len(when), 1), np.inf)], axis=1)
    return np.asarray(np.take_along_axis(trials, when[:, None], axis=1)[:, 0])


def _quantiles(requests: np.ndarray) -> tuple[float, float]:
    """Order statistics, so that infinity (never found) stays what it is."""
    median, late = np.quantile(requests, [0.5, 0.9], method="inverted_cdf")
    return float(median), float(late)
