"""About how many requests more a comparison needs, should both versions go on as they did so far."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

from routing.observations import Rate
from routing.statistics.bernoulli import log_e_above
from routing.statistics.difference import log_e_lower

#: How much more traffic than now is thought of, in steps of a tenth.
_FACTORS = tuple(1.1**step for step in range(1, 73))


def of_difference(canary: Rate, stable: Rate, margin: float, limit: float) -> int | None:
    """Of the canary, until "the canary's rate >= the stable one's + ``margin``" is refuted at log evidence ``limit``.

    None: no end in sight (a thousand times the traffic), or nothing was seen yet.
    """
    if canary.trials == 0 or stable.trials == 0:
        return None
    return _first(lambda factor: log_e_lower(_times(canary, factor), _times(stable, factor), margin) >= limit, canary)


def of_rate(seen: Rate, wanted: float, limit: float) -> int | None:
    """Trials until "the rate is ``wanted`` or less" is refuted at log evidence ``limit``; None as above."""
    if seen.trials == 0:
        return None
    return _first(lambda factor: float(log_e_above(wanted, seen.hits * factor, seen.trials * factor)) >= limit, seen)


def told(more: int | None) -> str:
    """In words, to two digits: more would pretend to know."""
    if more is None:
        return "no end in sight as it goes"
    digits = max(0, len(str(more)) - 2)
    return f"about {-(-more // 10**digits) * 10**digits} requests more"


def _times(seen: Rate, factor: float) -> Rate:
    """To the whole number, as counts are."""
    return Rate(round(seen.trials * factor), round(seen.hits * factor))


def _first(reached: Callable[[float], bool], seen: Rate) -> int | None:
    """By halving: evidence for what is true grows with the traffic, once it is there at all."""
    if not reached(_FACTORS[-1]):
        return None
    return math.ceil(seen.trials * (_FACTORS[bisect_left(_FACTORS, True, key=reached)] - 1))
