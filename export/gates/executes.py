"""Gate 1, ``executes``: the artefact opens, and batches of 1, 2 and the largest run and have the right shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import root_cause
from export.gates.base import Candidate, GateResult, Reference, batch_sizes
from handlers.pipeline import RunNetwork
from slipway.errors import SlipwayError


class Executes:
    """See the module's text."""

    name = "executes"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """Runs held-out images (repeated where a batch needs more) and compares shape and dtype."""
        largest = reference.contract.network.max_batch_size
        classes = len(reference.contract.labels)
        sizes = batch_sizes((2,), largest)
        threshold = {"batch_sizes": sizes, "classes": classes, "dtype": "float32"}
        try:
            session = candidate.run
        except SlipwayError as problem:
            return self._result(candidate, threshold, [], f"it cannot be opened: {problem}")
        pixels = reference.pixels
        tried = {size: _problem(session, np.resize(pixels, (size, *pixels.shape[1:])), classes) for size in sizes}
        problems = {size: text for size, text in tried.items() if text}
        worked = [size for size in sizes if size not in problems]
        return self._result(candidate, threshold, worked, _reason(problems, worked) if problems else None)

    def _result(
        self, candidate: Candidate, threshold: dict[str, Any], worked: list[int], reason: str | None
    ) -> GateResult:
        found = f"batches {_list(worked)}" if worked else "nothing runs"
        allowed = f"batches {_list(threshold['batch_sizes'])}"
        measured = {"worked": worked}
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, allowed)


def _problem(session: RunNetwork, batch: NDArray[np.uint8], classes: int) -> str | None:
    try:
        output = session(batch)
    except Exception as problem:  # each runtime has its own; the text is the finding
        return root_cause(problem)
    if output.shape != (len(batch), classes) or output.dtype != np.float32:
        return f"returns {output.dtype}{list(output.shape)}, not float32[{len(batch)}, {classes}]"
    return None


def _reason(problems: dict[int, str], worked: list[int]) -> str:
    details = "; ".join(f"batch {size}: {text}" for size, text in problems.items())
    if worked:
        return f"the batch size is baked in: {worked} work, {sorted(problems)} do not ({details})"
    return f"no batch size runs ({details})"


def _list(sizes: Iterable[int]) -> str:
    return ", ".join(str(size) for size in sizes)
