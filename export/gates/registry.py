"""Every gate, in the order in which they run: the one place to add another."""

from __future__ import annotations

from export.gates.accuracy import Accuracy
from export.gates.base import Candidate, Gate, GateResult, Reference
from export.gates.executes import Executes
from export.gates.parity import Parity

_GATES: tuple[Gate, ...] = (Executes(), Parity(), Accuracy())


def judge(reference: Reference, candidate: Candidate) -> list[GateResult]:
    """Runs the gates on one candidate. What does not execute is not judged further: its numbers would mean nothing."""
    results: list[GateResult] = []
    for gate in _GATES:
        results.append(gate.check(reference, candidate))
        if not results[0].passed:
            break
    return results
