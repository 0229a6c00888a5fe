"""Every gate, in the order in which they run: the one place to add another."""

from __future__ import annotations

from export.gates.base import Candidate, Gate, GateResult, Reference
from export.gates.executes import Executes
from export.gates.parity import Parity
from export.gates.task import Task

_GATES: tuple[Gate, ...] = (Executes(), Parity(), Task())


def judge(reference: Reference, candidate: Candidate) -> list[GateResult]:
    """Runs the gates on one candidate. What does not execute is not judged further: its numbers would mean nothing. A
    network that is one of several does no task alone: the whole model is judged when all are made."""
    results: list[GateResult] = []
    for gate in _GATES if reference.inputs is None else _GATES[:2]:
        results.append(gate.check(reference, candidate))
        if not results[0].passed:
            break
    return results


def find_gate(name: str) -> Gate:
    """A gate by name; raises KeyError for one that there is not."""
    return {gate.name: gate for gate in _GATES}[name]
