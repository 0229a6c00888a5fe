"""Gate 3, ``task``, of every task but classification by one label: held-out images through the whole pipeline.

Trained model and export see the same encoded bytes. With a truth the gate asks whether the export is non-inferior in
the task's own metric; without one a specification may accept agreement of the answers, matched as sets, instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.gates.base import GateResult, finite
from export.metrics.base import Metric, once
from export.statistics.bootstrap import compare_metric
from export.statistics.verdict import ROUNDING, Comparison
from export.tasks.registry import judge_of
from export.whole import Whole
from handlers.calls import Networks
from slipway.errors import NetworkFailed

NAME = "task"


def judge_answers(whole: Whole, networks: Networks, label: str) -> GateResult:
    """``networks``: exported ones; ``label``: what the result is filed under, the format as a rule.

    Raises SamplesInvalid for a truth that cannot be used."""
    rules, judge = whole.gates.task, judge_of(whole.contract)
    measured: dict[str, Any] = {
        "metric": judge.metric_name,
        "images": len(whole.held_out.images),
        "labelled": whole.held_out.known,
    }
    reason = _judge(whole, networks, measured)
    values = finite(measured)
    allowed = f"loss <= {rules.margin:g}" if whole.held_out.known else f"agreement >= {_least(whole):g}"
    return GateResult(
        NAME, label, reason is None, values, rules.model_dump(mode="json"), reason, _found(measured), allowed
    )


def _judge(whole: Whole, networks: Networks, measured: dict[str, Any]) -> str | None:
    rules, judge = whole.gates.task, judge_of(whole.contract)
    if not whole.held_out.known and not rules.accept_unlabelled:
        return (
            "truth.json does not name every held-out image, so nothing shows that the export does its task; write it, "
            "or set gates.task.accept_unlabelled"
        )
    try:
        exported = whole.answers(networks)
    except NetworkFailed as problem:
        return f"the pipeline fails with it: {problem}"
    agreement = judge.agreement(whole.records, exported)
    measured |= {"agreement": agreement.share, "compared": dict(agreement.details)}
    cause = f": {agreement.cause}" if agreement.cause else ""
    if whole.held_out.known:
        truth = whole.held_out.truths
        return _with_truth(whole, judge.metric(truth, whole.records), judge.metric(truth, exported), measured, cause)
    if not np.isfinite(agreement.share):
        return f"the trained model's answers show nothing to agree on{cause}"
    if agreement.share >= _least(whole) - ROUNDING:
        return None
    return f"its answers agree with the trained model's on {agreement.share:.4f} (allowed {_least(whole):.4f}){cause}"


def _with_truth(whole: Whole, trained: Metric, exported: Metric, measured: dict[str, Any], cause: str) -> str | None:
    rules = whole.gates.task
    search = not rules.accept_undecided
    found = compare_metric(trained, exported, rules.margin, rules.confidence, search=search)
    measured.update(found.to_dict())
    higher = trained.better == "higher"
    for owner, value in (("trained model itself", found.trained), ("export", found.exported)):
        if rules.minimum is not None and (value < rules.minimum if higher else value > rules.minimum):
            return f"the {owner} reaches {value:.4f}, {'below' if higher else 'above'} {rules.minimum:.4f}"
    if higher and once(trained) == 0.0:
        return "the trained model itself finds nothing that is true: wrong truth, images or weights?"
    if found.verdict == "worse":
        return f"the export loses {found.drop:.4f} (allowed {rules.margin:g}) on {found.images} images{cause}"
    if found.verdict == "undecided" and not rules.accept_undecided:
        return _too_few(found)
    return None


def _too_few(found: Comparison) -> str:
    needed = "no number of them" if found.needed is None else f"about {found.needed}"
    return (
        f"too few images to decide: with {found.images} the export may lose {found.upper:.4f} at "
        f"{found.confidence:.0%} confidence (allowed {found.margin:g}); {needed} like these would decide; label more, "
        "raise gates.task.margin, or set gates.task.accept_undecided"
    )


def _least(whole: Whole) -> float:
    rules = whole.gates.task
    return 1 - rules.margin if rules.min_agreement is None else rules.min_agreement


def _found(measured: dict[str, Any]) -> str:
    if "exported" in measured:
        return f"{measured['metric']} {measured['exported']:.4f}, trained {measured['trained']:.4f}"
    return f"agreement {measured['agreement']:.4f}" if "agreement" in measured else "not compared"
