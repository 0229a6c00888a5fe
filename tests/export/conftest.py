"""One trained small model, its held-out images and its reference for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.registry import find_format
from export.gates.base import Candidate, Reference
from export.images import load_held_out
from export.wrap import NormalisedNetwork, eager_network, wrap
from handlers.pipeline import RunNetwork
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model

SPEC = {
    "model": "small",
    "source": {"factory": "tests.export.small_model:build", "checkpoint": "weights.pt"},
    "input": {"height": small_model.SIZE, "width": small_model.SIZE, "resize": "stretch"},
    "normalise": {"scale": 255.0, "mean": small_model.MEAN, "std": small_model.STD},
    "labels": small_model.LABELS,
    "postprocess": {"top_k": 3},
    "samples": "samples",
    "gates": {"task": {"minimum": 0.85, "margin": 0.05}},
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On busy cores torch's waiting threads cost more than the small model's arithmetic: 3 minutes instead of 40 s."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained() -> small_model.SmallCnn:
    return small_model.train()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, trained: nn.Module) -> Path:
    """A project's root with weights and held-out images; read only, tests that publish give it another repository."""
    root = tmp_path_factory.mktemp("project")
    torch.save(trained.state_dict(), root / "weights.pt")
    small_model.write_held_out(root / "samples")
    return root


@pytest.fixture
def settings(project: Path, tmp_path: Path) -> Settings:
    return Settings(root=project, repository=tmp_path / "repository", state_dir=tmp_path / "state")


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return ModelSpec.model_validate(SPEC)


@pytest.fixture(scope="session")
def reference(project: Path, spec: ModelSpec, trained: nn.Module) -> Reference:
    contract = spec.contract(project)
    held_out = load_held_out(project / spec.samples, contract.labels)
    module = wrap(trained, contract.normalise)
    return Reference(contract, spec.gates, held_out, module, eager_network(module))


@pytest.fixture(scope="session")
def example(reference: Reference) -> torch.Tensor:
    return torch.from_numpy(reference.pixels[:2].copy())


@pytest.fixture(scope="session")
def artifacts(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, example: torch.Tensor
) -> dict[str, Artifact]:
    """Every format of the trained model, exported once."""
    folder = tmp_path_factory.mktemp("artifacts")
    options = ExportOptions(max_batch_size=8, log_dir=folder / "logs")
    names = ("onnx", "torchscript", "torch-export")
    return {name: find_format(name).export(reference.module, example, folder, options) for name in names}


Planted = Callable[[nn.Module], Candidate]


@pytest.fixture
def planted(tmp_path: Path, example: torch.Tensor) -> Planted:
    """Traces any module that takes pixels into a real TorchScript file and offers it as the export."""

    def plant(module: nn.Module) -> Candidate:
        path = tmp_path / "model.pt"
        torch.jit.trace(module.eval(), (example,), check_trace=False).save(str(path))
        return candidate("torchscript", path)

    return plant


def candidate(name: str, path: Path) -> Candidate:
    def session() -> RunNetwork:
        return find_format(name).session(Artifact(name, path, 0.0))

    return Candidate(name, session)


def with_module(reference: Reference, module: NormalisedNetwork) -> Reference:
    """The same contract and images with another trained model."""
    return replace(reference, module=module, run=eager_network(module))
