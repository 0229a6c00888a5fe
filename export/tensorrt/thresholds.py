"""The gates' thresholds by precision, for the verdict of the GPU machine; at import the gates themselves judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.formats.base import Precision

if TYPE_CHECKING:
    from slipway.spec import GatesSpec


def thresholds(gates: GatesSpec, precision: Precision) -> dict[str, float | None]:
    """Thresholds of runner.measure.failures, from the specification's gates of parity and task."""
    parity = gates.parity
    task = {"max_drop": gates.task.margin, "min_accuracy": gates.task.minimum}
    if precision == "fp32":
        return {**task, "max_relative_difference": parity.max_relative_difference}
    held = parity.fp16 if precision == "fp16" else parity.bf16 if precision == "bf16" else parity.int8
    return {**task, "min_sqnr_db": held.min_sqnr_db, "min_agreement": held.min_agreement}
