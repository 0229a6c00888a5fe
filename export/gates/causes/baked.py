"""A constant that was baked from the dynamic batch: which node of the artefact holds it, which line asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.formats.specialised import specialised_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.gates.base import Candidate, Reference


@dataclass(frozen=True)
class BakedNode:
    """``name`` and ``op`` of a node; ``constant``: the value baked into it, as text; ``place``: its line of source, as
    ``model.py:12 in forward``, None where the artefact does not know it."""

    name: str
    op: str
    constant: str
    place: str | None = None

    def __str__(self) -> str:
        written = f", written at {self.place}" if self.place else ""
        return f"node {self.name} ({self.op} with the constant {self.constant}{written})"


def explain_baked(reference: Reference, candidate: Candidate, worked: Sequence[int]) -> str | None:
    """The node and line of a candidate that runs only batches of ``worked``; None when neither can be found."""
    node = _node(reference, candidate, worked)
    if node is not None and node.place is not None:
        return str(node)
    line = _line(reference)
    if node is not None:
        return f"{node}{f', the model fixes its batch at {line}' if line else ''}"
    return f"the model fixes its batch at {line}" if line else None


def _node(reference: Reference, candidate: Candidate, worked: Sequence[int]) -> BakedNode | None:
    if candidate.artifact is None:
        return None
    path = candidate.artifact.path
    if path.suffix == ".onnx":
        from export.gates.causes.baked_onnx import baked_in_onnx

        return baked_in_onnx(path, reference.pixels)
    if path.suffix in (".pt", ".pt2"):
        from export.gates.causes.baked_torch import baked_in_program, baked_in_script

        return (baked_in_script if path.suffix == ".pt" else baked_in_program)(path, worked)
    return None


def _line(reference: Reference) -> str | None:
    """The line of the trained model itself, for formats that keep no source and for exporters that fix the batch."""
    import torch

    pixels = reference.pixels
    return specialised_at(reference.module, torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:]))))
