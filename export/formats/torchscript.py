"""TorchScript: traced and frozen, for Triton's pytorch backend (``platform: "pytorch_libtorch"``).

TorchScript is deprecated upstream (torch 2.13 warns on every call) but it is what libtorch servers load. Batch
normalisation is folded by freezing. ``optimize_for_inference`` is not used: its result cannot be saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import ExportOptions, FileFormat
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch


class TorchScript(FileFormat):
    """See the module's text."""

    name = "torchscript"
    file_name = "model.pt"
    summary = "fp32 for libtorch servers; deprecated upstream"
    packages = ("torch",)

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Traces with ``example``, freezes, checks that another batch size runs, and saves."""
        return _write(module, example, path, options)


def _write(module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions) -> dict[str, Any]:
    import torch

    from export.formats.origin import require_torch

    require_torch("torchscript", module)
    with torch.inference_mode(False), torch.no_grad():
        traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
        _check_batch(frozen, example, options.max_batch_size)
    frozen.save(str(path))
    return {"torch": torch.__version__}


def _check_batch(script: torch.jit.ScriptModule, example: torch.Tensor, largest: int) -> None:
    """A trace records the sizes it saw wherever Python arithmetic touched them; another batch size shows it."""
    import torch

    for size in sorted({1, largest}):
        batch = example[:1].expand(size, *example.shape[1:]).contiguous()
        try:
            found = tuple(script(batch).shape)
        except (RuntimeError, torch.jit.Error) as problem:
            found = ()
            cause: Exception | None = problem
        else:
            cause = None
        if not found or found[0] != size:
            raise ExportFailed(
                "torchscript: the trace has the batch size baked in",
                observed=f"traced with {len(example)} images; a batch of {size} gives "
                + (f"shape {found}" if found else f"an error: {str(cause).strip().splitlines()[-1]}"),
                expected=f"({size}, classes)",
                fix="use x.shape[0] or flatten(1) in the model's forward instead of a stored size",
            ) from cause
