"""Twenty good exports, five architectures in four formats, pass every gate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.run import export_model
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model, zoo

FORMATS = ("torchscript", "torch-export", "onnx", "openvino")
GATES = {"executes", "parity", "task"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A project with 150 labelled patches of real photographs: enough to decide at a margin of two points."""
    root = tmp_path_factory.mktemp("zoo")
    small_model.write_held_out(root / "samples", per_class=25, size=zoo.SIZE)
    return Settings(root=root, repository=root / "repository", state_dir=root / "state")


def specification(arch: str, home: Settings, formats: tuple[str, ...]) -> ModelSpec:
    torch.save(zoo.train(arch).state_dict(), home.root / f"{arch}.pt")
    values = {
        "model": arch,
        "source": {"factory": "tests.export.zoo:build", "arguments": {"arch": arch}, "checkpoint": f"{arch}.pt"},
        "input": {"height": zoo.SIZE, "width": zoo.SIZE, "resize": "stretch"},
        "normalise": {"scale": 255.0, "mean": small_model.MEAN, "std": small_model.STD},
        "labels": small_model.LABELS,
        "postprocess": {"top_k": 3},
        "samples": "samples",
        "formats": formats,
        "gates": {"task": {"minimum": 0.4, "margin": 0.02}},
    }
    return ModelSpec.model_validate(values)


@pytest.mark.parametrize("arch", zoo.ARCHITECTURES)
def test_a_good_export_passes_in_every_format(arch: str, home: Settings) -> None:
    result = export_model(specification(arch, home, FORMATS), home, dry_run=True)
    judged = {(gate["format"], gate["name"]): gate for gate in result.gates}
    for name in FORMATS:
        for gate in GATES:
            assert judged[name, gate]["passed"], judged[name, gate]
        measured = judged[name, "task"]["measured"]
        assert measured["trained"] == measured["exported"] >= 0.4
        assert measured["images"] == 150


def test_the_zoo_really_differs(home: Path) -> None:
    """Five names of one network would prove little: what they are made of differs."""
    kinds = {}
    for arch in zoo.ARCHITECTURES:
        module = zoo.build(arch)
        kinds[arch] = {type(layer).__name__ for layer in module.modules()}
    assert len({frozenset(kind) for kind in kinds.values()}) == len(zoo.ARCHITECTURES)
