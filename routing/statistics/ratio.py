"""Sample-ratio mismatch, watched continuously: do the arms have the units that their shares say?

Each stretch with one share is a sum of Bernoulli(share) trials under the null; the e-values of the stretches multiply
(Lindon, Malek 2022, Anytime-valid inference for multinomial count data).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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
    for split in told:
        units = split.stable_units + split.canary_units
        prior = (_CONCENTRATION * split.share, _CONCENTRATION * (1 - split.share))
        log_e += float(log_e_value(split.share, split.canary_units, units, prior))
        expected = units * split.share
        statistic += (split.canary_units - expected) ** 2 / (expected * (1 - split.share))
    chi_square = float(stats.chi2.sf(statistic, len(told))) if told else float("nan")
    return Mismatch(float(min(1.0, np.exp(-log_e))), chi_square, sum(s.stable_units + s.canary_units for s in told))
