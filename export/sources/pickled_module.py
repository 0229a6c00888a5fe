"""A whole Python module, pickled by MLflow's pytorch flavour: loaded only where a specification allows it by name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import yaml
from torch import nn

from export.sources.location import Located
from slipway.errors import SourceInvalid


def is_pickled_module(located: Located) -> bool:
    """Whether this is the model file of a version with MLflow's pytorch flavour, not one of its other files."""
    if located.folder is None or not (located.folder / "MLmodel").is_file():
        return False
    flavours = yaml.safe_load((located.folder / "MLmodel").read_text(encoding="utf-8")).get("flavors") or {}
    data = located.folder / str((flavours.get("pytorch") or {}).get("model_data", "data"))
    return "pytorch" in flavours and located.path == data / "model.pth"


def load_pickled(located: Located) -> tuple[nn.Module, str]:
    """The module in eval mode on the CPU, float32, by MLflow's own loader. RUNS CODE that the file names.

    Raises SourceInvalid when it cannot be unpickled here (a missing package, most often) or is no module.
    """
    import mlflow.pytorch

    folder = Path(str(located.folder))
    try:
        with _Allowed():
            module = mlflow.pytorch.load_model(str(folder), map_location="cpu", weights_only=False)
    except Exception as problem:  # unpickling runs foreign code: whatever it raises is the finding
        raise SourceInvalid(
            f"{located.shown}: the pickled module cannot be loaded here",
            observed=f"{type(problem).__name__}: {problem}",
            expected="the packages that its code needs, in the versions that it was trained with",
            fix=f"see requirements.txt in {folder}; better, log the model as ONNX or TorchScript",
        ) from problem
    if not isinstance(module, nn.Module):
        raise SourceInvalid(f"{located.shown} is no torch module", observed=type(module).__name__)
    module = module.to("cpu", torch.float32).eval().requires_grad_(False)
    return module, f"pickled module {located.shown}, unpickled because source.allow_pickle is set"


class _Allowed:
    """MLflow's own switch, set for the length of the load: the specification has answered its question."""

    _NAME = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"

    def __enter__(self) -> None:
        self._before = os.environ.get(self._NAME)
        os.environ[self._NAME] = "true"

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            os.environ.pop(self._NAME, None)
        else:
            os.environ[self._NAME] = self._before
