"""``compare``: whether two summaries of one image agree, and how far apart they are.

Summaries are what handlers record (handlers/recording/summaries.py says their forms); they come from files, so nothing
in them is trusted: what has not the task's form is not comparable, which is neither agreement nor disagreement.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from routing.compare.found import Found, Incomparable, Thresholds
from routing.compare.measures import MEASURES, Summary

_PROBLEMS = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)

DEFAULT = Thresholds()


def compare(task: str, a: Summary | None, b: Summary | None, thresholds: Thresholds = DEFAULT) -> Found:
    """Compares two summaries of ``task``; None stands for an answer that failed. Never raises.

    One that failed and one that did not are as far apart as can be. Numbers that are not finite agree with nothing.
    """
    if a is None or b is None:
        return _failed(a, b)
    measure = MEASURES.get(task)
    if measure is None:
        return Found(None, None, {"reason": f"no measure for the task {str(task)[:40]!r}"})
    try:
        with np.errstate(all="ignore"):
            found = measure(a, b, thresholds)
    except Incomparable as problem:
        return Found(None, None, {"reason": str(problem)})
    except _PROBLEMS as problem:
        return Found(None, None, {"reason": f"a summary has not the form of {task}: {type(problem).__name__}"})
    return _finite(found)


def _failed(a: Summary | None, b: Summary | None) -> Found:
    if a is None and b is None:
        return Found(None, None, {"reason": "both failed"})
    return Found(False, 1.0, {"failed": "a" if a is None else "b"})


def _finite(found: Found) -> Found:
    """JSON, which takes the details, has no NaN."""
    detail: dict[str, Any] = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.detail.items()
    }
    if found.distance is None or math.isfinite(found.distance):
        return Found(found.agree, None if found.distance is None else min(1.0, found.distance), detail)
    return Found(False, 1.0, {**detail, "reason": "not finite"})
