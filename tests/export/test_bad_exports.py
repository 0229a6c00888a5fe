"""Twelve bad exports, each refused with its true cause in the message. The rooms' own tests look at each more closely.

Mistakes of a specification go the whole way of an export, which must refuse it and publish nothing. Mistakes of a file
are offered to the gates as an export offers them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.formats.base import Artifact
from export.gates.base import Reference
from export.gates.causes.earlier import Earlier
from export.gates.registry import judge
from export.run import export_model
from export.wrap import NormalisedNetwork, wrap
from samples.photos.catalogue import PHOTOS
from slipway.errors import GateFailed
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model
from tests.export.conftest import SPEC, with_module
from tests.export.offered import example_of, exported, offered, shared_folder, traced
from tests.export.training_transforms import CROP, RESIZE

TRANSFORMS = "tests.export.training_transforms"
PHOTOGRAPHS = ("coffee.png", "china.jpg", "rocket.jpg", "portrait.jpg")


@dataclass(frozen=True)
class Bench:
    """What a fault is planted into. ``shared``: the fp32 ONNX of the run; ``good``: the good ONNX export."""

    reference: Reference
    folder: Path
    shared: Path
    good: Artifact


Reasons = Callable[[Bench], str]


@pytest.fixture
def bench(reference: Reference, artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("planted")
    return Bench(reference, folder, shared_folder(tmp_path_factory), artifacts["onnx"])


def refused(changes: dict[str, Any], bench: Bench, project: Path) -> str:
    """Exports the small model with a changed specification; what the refusal says."""
    settings = Settings(root=bench.folder, repository=bench.folder / "repository", state_dir=bench.folder / "state")
    shutil.copytree(project / "samples", bench.folder / "samples")
    shutil.copy(project / "weights.pt", bench.folder)
    photographs = bench.folder / "photographs"
    photographs.mkdir()
    for photo in PHOTOS:
        if photo.name in PHOTOGRAPHS:
            (photographs / photo.name).write_bytes(photo.encoded())
    spec = ModelSpec.model_validate({**SPEC, "formats": ["onnx"], **changes})
    with pytest.raises(GateFailed) as caught:
        export_model(spec, settings)
    assert not list((bench.folder / "repository").glob("*/[0-9]*"))
    assert caught.value.kept is not None
    assert (caught.value.kept / "evidence.html").is_file()
    return str(caught.value.observed)


def against(transform: str, **changes: Any) -> dict[str, Any]:
    """A specification that names the training's transform."""
    rules = {"transform": f"{TRANSFORMS}:{transform}", "images": "photographs"}
    crop = {"height": CROP, "width": CROP, "resize": "shorter_side", "resize_to": RESIZE}
    task = {"margin": 0.5, "accept_undecided": True}
    return {"input": crop, "gates": {"task": task, "preprocessing": rules}, **changes}


SPECIFIED = {
    "swapped channels": (
        against("good", input={**against("good")["input"], "colour": "bgr"}),
        "channels are swapped",
    ),
    "wrong mean": (
        against("good", normalise={"scale": 255.0, "mean": [0.5, 0.5, 0.5], "std": small_model.STD}),
        "mean differs",
    ),
    "resize without antialias": (
        against("good", input={**against("good")["input"], "antialias": False}),
        "input.antialias: true",
    ),
    "labels shifted by one": (
        {"labels": (*small_model.LABELS[1:], small_model.LABELS[0])},
        "labels are shifted by",
    ),
}


@pytest.mark.parametrize("name", SPECIFIED)
def test_a_bad_specification_is_refused_with_its_cause(name: str, bench: Bench, project: Path) -> None:
    changes, cause = SPECIFIED[name]
    assert cause in refused(changes, bench, project)


def baked_batch(bench: Bench) -> str:
    class Baked(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return bench.reference.module(pixels).reshape(2, -1)[:, :6]

    return reasons(bench, traced(Baked(), bench.reference, bench.folder / "model.pt"))


def fp16_overflow(bench: Bench) -> str:
    module = small_model.SmallCnn()
    module.load_state_dict(bench.reference.module.module.state_dict())
    with torch.no_grad():
        module.features[1].weight *= 3e5
        module.features[1].bias *= 3e5
        module.features[4].weight /= 3e5
    loud = NormalisedNetwork(module.eval(), bench.reference.contract.normalise).eval()
    reference = with_module(bench.reference, loud)
    candidate = exported("onnx-fp16", reference, bench.folder, bench.folder / "shared")
    return "; ".join(result.reason or "" for result in judge(reference, candidate))


def calibrated_on_noise(bench: Bench) -> str:
    noise = np.random.default_rng(0).normal(128, 12, bench.reference.pixels.shape)
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    return reasons(bench, exported("onnx-int8", bench.reference, bench.folder, bench.shared, calibration=pixels))


def stale_file(bench: Bench) -> str:
    """The network of version 1, built anew so that its hash is new, offered for other weights."""
    retrained = with_module(bench.reference, wrap(small_model.train(seed=1), bench.reference.contract.normalise))
    retrained = replace(retrained, earlier=(Earlier(1, "onnx", bench.good.path),))
    model = onnx.load(str(bench.good.path))
    model.producer_name = "a new build"
    path = bench.folder / "model.onnx"
    onnx.save(model, str(path))
    results = judge(retrained, offered(Artifact("onnx", path, 0.0)))
    return "; ".join(result.reason or "" for result in results)


def truncated_file(bench: Bench) -> str:
    path = bench.folder / "model.onnx"
    path.write_bytes(bench.good.path.read_bytes()[:-1000])
    return reasons(bench, offered(Artifact("onnx", path, 0.0)))


def changed_opset(bench: Bench) -> str:
    path = bench.folder / "model.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(str(bench.good.path)), 21), str(path))
    return reasons(bench, offered(replace(bench.good, path=path)))


def train_mode(bench: Bench) -> str:
    module = wrap(small_model.build(), bench.reference.contract.normalise)
    module.load_state_dict(bench.reference.module.state_dict())
    module.module.features[1].train()
    module.module.features[5].train()
    path = bench.folder / "model.pt"
    torch.jit.trace(module, (example_of(bench.reference),), check_trace=False).save(str(path))
    return reasons(bench, offered(Artifact("torchscript", path, 0.0)))


FILES: dict[str, tuple[Reasons, str]] = {
    "baked batch": (baked_batch, "the batch size is baked in"),
    "fp16 overflow": (fp16_overflow, "fp16 overflow: the values of "),
    "INT8 calibrated on noise": (calibrated_on_noise, "INT8 was calibrated on something else than such images"),
    "stale file under a new hash": (stale_file, "a stale file: it answers as version 1 (onnx) does"),
    "truncated file": (truncated_file, "truncated"),
    "opset silently changed": (changed_opset, "the opset was changed silently"),
    "train mode left on": (train_mode, "train mode was left on"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_with_its_cause(name: str, bench: Bench) -> None:
    plant, cause = FILES[name]
    assert cause in plant(bench)


def test_the_list_is_whole() -> None:
    """The twelfth, class-agnostic NMS, needs a detector: tests/export/test_gates_matching.py plants it in a real ONNX
    graph."""
    from tests.export import test_gates_matching

    assert callable(test_gates_matching.test_class_agnostic_suppression_is_named)
    assert len(SPECIFIED) + len(FILES) == 11


def reasons(bench: Bench, candidate: Any) -> str:
    results = judge(bench.reference, candidate)
    assert not all(result.passed for result in results)
    return "; ".join(result.reason or "" for result in results)
