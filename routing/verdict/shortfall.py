"""About how many requests more a comparison needs, should both versions go on as they did so far."""

from __future__ import annotations

import numpy as np

from routing.observations import Rate
from routing.statistics.bernoulli import log_e_above
from routing.statistics.evidence import Counts, Floats, log_e_apart

#: How much more traffic than now is thought of, in steps of a tenth.
_FACTORS: Floats = np.power(1.1, np.arange(1, 73), dtype=np.float64)


def of_difference(canary: Rate, stable: Rate, margin: float, limit: float) -> int | None:
    """Of the canary, until "the canary's rate >= the stable one's + ``margin``" is refuted at log evidence ``limit``.

    None: no end in sight (a thousand times the traffic), or nothing was seen yet.
    """
    if canary.trials == 0 or stable.trials == 0:
        return None
    return _first(log_e_apart(_misses(stable), _misses(canary), -margin) >= limit, canary)


def of_rate(seen: Rate, wanted: float, limit: float) -> int | None:
    """Trials until "the rate is ``wanted`` or less" is refuted at log evidence ``limit``; None as above."""
    if seen.trials == 0:
        return None
    return _first(np.asarray(log_e_above(wanted, seen.hits * _FACTORS, seen.trials * _FACTORS)) >= limit, seen)


def told(more: int | None) -> str:
    """In words, to two digits: more would pretend to know."""
    if more is None:
        return "no end in sight as it goes"
    digits = max(0, len(str(more)) - 2)
    return f"about {-(-more // 10**digits) * 10**digits} requests more"


def _misses(seen: Rate) -> Counts:
    return Counts.of((seen.trials - seen.hits) * _FACTORS, seen.trials * _FACTORS)


def _first(reached: np.ndarray, seen: Rate) -> int | None:
    return int(np.ceil(seen.trials * (_FACTORS[np.argmax(reached)] - 1))) if reached.any() else None
