"""A torch.export program (``.pt2``) as a module: what MLflow's pytorch flavour writes by default, and others by hand.

Loading can unpickle; :func:`export.formats.torch_export.refuse_pickles` refuses an archive that would make it.
"""

from __future__ import annotations

import torch
from torch import nn

from export.formats.torch_export import refuse_pickles
from export.sources.location import Located
from slipway.errors import ExportFailed, SourceInvalid


class Program(nn.Module):
    """Runs a program: float32[N, 3, H, W] -> float32[N, classes]. Its mode was fixed when it was exported."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One run."""
        logits: torch.Tensor = self.program(images)
        return logits

    def train(self, mode: bool = True) -> Program:
        """Changes nothing inside: torch refuses ``train()`` and ``eval()`` on a program."""
        self.training = mode
        return self


def load_program(located: Located) -> tuple[nn.Module, str]:
    """The program as a module, and its description.

    What was exported in train mode shows when the source is checked by forward passes. Raises SourceInvalid for a
    damaged or pickled archive.
    """
    try:
        refuse_pickles(located.path)
    except ExportFailed as problem:
        raise SourceInvalid(
            f"{located.shown} is not a readable .pt2 archive of plain tensors",
            observed=problem.observed,
            expected="a whole file written by torch.export.save",
        ) from problem
    try:
        module = torch.export.load(str(located.path)).module()
    except Exception as problem:  # torch raises whatever its deserialiser meets
        raise SourceInvalid(
            f"{located.shown} cannot be loaded by torch {torch.__version__}",
            observed=f"{type(problem).__name__}: {(str(problem).strip().splitlines() or ['no message'])[0][:300]}",
            expected="a program that this torch can read",
            fix="export it again with this version of torch, or as ONNX",
        ) from problem
    program = Program(module.to("cpu", torch.float32))
    return program.eval().requires_grad_(False), f"torch.export program {located.shown}"
