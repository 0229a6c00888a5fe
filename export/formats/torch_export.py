"""``torch.export``: a ``.pt2`` program with a dynamic batch; upstream's successor of TorchScript.

Triton's container has no stock backend for it, so it is gated and kept beside the public model's files.

**Loading is unpickling, unless checked.** ``torch.export.load`` (torch 2.13) reads weights as raw bytes where it can,
but any entry that the archive itself marks ``use_pickle`` goes through ``torch.load(weights_only=False)`` or
``pickle.loads``, and the sample inputs fall back to ``weights_only=False`` when the safe load fails. A crafted file
therefore runs code. :func:`refuse_pickles` reads the archive first and refuses every such entry; what this module
writes never has one. The manifest's sha256 is the other half: only files that were published here are opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import INPUT_NAME, Artifact, ExportOptions, FileFormat
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch

    from handlers.pipeline import RunNetwork


class TorchExport(FileFormat):
    """See the module's text."""

    name = "torch-export"
    file_name = "model.pt2"
    summary = "fp32 as a program that torch loads again; kept with the version, served by nothing"
    packages = ("torch",)

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Exports with a batch dimension of 1..max_batch_size; a model that fixes it fails here, by name."""
        return _write(module, example, path, options)

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """Opens it with ``torch.export.load``, after :func:`refuse_pickles`."""
        refuse_pickles(artifact.path)
        return super().session(artifact, threads)


def batch_dimension(options: ExportOptions) -> Any:
    """``torch.export.Dim`` of the batch: 1 up to the largest batch (2 at least, or it would be a constant)."""
    import torch

    return torch.export.Dim("batch", min=1, max=max(2, options.max_batch_size))


def input_shapes(options: ExportOptions) -> dict[str, dict[int, Any]]:
    """Which axes of ``pixels`` are dynamic, as torch.export takes it: the batch and ``free_sides``."""
    import torch

    # named dimensions refuse what strided layers ask of a size; whether a side stayed free is what gate 1 tries
    free = torch.export.Dim.AUTO
    return {INPUT_NAME: {0: batch_dimension(options), **dict.fromkeys(options.free_sides, free)}}


def refuse_pickles(path: Path) -> None:
    """Raises ExportFailed when loading ``path`` would unpickle anything but plain tensors, or it is no archive."""
    import torch

    from handlers.networks.torch import Pickled
    from handlers.networks.torch import refuse_pickles as refuse

    try:
        refuse(torch, path)
    except Pickled as problem:
        raise ExportFailed(
            f"torch-export: {path.name} holds pickled entries, and unpickling runs code",
            observed=str(problem),
            expected="weights and constants as raw bytes",
            fix="write it with torch.export.save of torch 2.10 or later, from plain tensors",
        ) from problem
    except Exception as problem:  # zip, JSON and torch's unpickler each have their own
        raise ExportFailed(
            f"torch-export: {path.name} is not a readable .pt2 archive of plain tensors",
            observed=f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}",
        ) from problem


def exported_program(
    format_name: str, module: torch.nn.Module, example: torch.Tensor, options: ExportOptions
) -> torch.export.ExportedProgram:
    """The program of ``module`` with a batch of 1..max_batch_size. Raises ExportFailed for a source without torch code,
    and whatever torch raises."""
    import torch

    from export.formats.origin import exportable, require_torch

    require_torch(format_name, module)
    module = exportable(module, example)
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=input_shapes(options))


def _write(module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions) -> dict[str, Any]:
    import torch

    torch.export.save(exported_program("torch-export", module, example, options), path)
    return {"torch": torch.__version__, "max_batch_size": max(2, options.max_batch_size)}
