"""Sample-ratio mismatch, watched continuously: do the arms have the units that their shares say?

Each stretch with one share is a sum of Bernoulli(share) trials under the null (Lindon, Malek 2022, Anytime-valid
inference for multinomial count data). The stretches are joined by their largest e-value, stretch k at 1 / (k (k + 1))
of the level, and not by their product: assignment is sticky, so units that come back under the next share are not drawn
again, and a chance excess of one stretch returns in the next. A product would count it again and again
(docs/routing-statistics.md); a union bound holds whatever the stretches have to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy import stats

from routing.observations import Split
from routing.statistics.bernoulli import log_e_value

#: How far from the declared share a mismatch is looked for: the prior weighs as many units.
_CONCENTRATION = 100.0


class Mismatch(NamedTuple):
    """``p_value``: valid at every look. ``chi_square``: the p-value of one look alone, for information; nan without
    units."""

    p_value: float
    chi_square: float
    units: int


def mismatch(splits: Sequence[Split]) -> Mismatch:
    """Evidence against the declared shares; stretches whose share is 0 or 1 say nothing."""
    told = [s for s in splits if 0 < s.share < 1 and s.stable_units + s.canary_units > 0]
    log_e, statistic = 0.0, 0.0
    for number, split in enumerate(told, start=1):
        units = split.stable_units + split.canary_units
        evidence = float(log_e_of(split.share, split.canary_units, units))
        log_e = max(log_e, evidence - math.log(number * (number + 1)))
        expected = units * split.share
        statistic += (split.canary_units - expected) ** 2 / (expected * (1 - split.share))
    chi_square = float(stats.chi2.sf(statistic, len(told))) if told else float("nan")
    return Mismatch(math.exp(-log_e), chi_square, sum(s.stable_units + s.canary_units for s in told))


def log_e_of(share: float, canary_units: Any, units: Any) -> Any:
    """Logarithm of the evidence of one stretch against ``share``, 0 < share < 1; for arrays too."""
    return log_e_value(share, canary_units, units, (_CONCENTRATION * share, _CONCENTRATION * (1 - share)))
