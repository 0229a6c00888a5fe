"""The fp16 format: really fp16 inside, fp32 outside, and an overflow is named before a GPU meets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.onnx_fp16 import LARGEST
from export.formats.onnx_graph import constants, makers, normalise_nodes
from export.formats.registry import find_format
from export.gates.base import Reference, in_batches
from export.wrap import NormalisedNetwork, eager_network, wrap
from slipway.contract import Normalise
from slipway.errors import ExportFailed
from tests.export import small_model

NORMALISE = Normalise(scale=255.0, mean=small_model.MEAN, std=small_model.STD)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> ExportOptions:
    folder = tmp_path_factory.mktemp("fp16")
    (folder / "shared").mkdir()
    return ExportOptions(8, folder / "logs", shared_dir=folder / "shared", calibration=reference.pixels)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, example: torch.Tensor, options: ExportOptions
) -> Artifact:
    return find_format("onnx-fp16").export(reference.module, example, tmp_path_factory.mktemp("made"), options)


Make = Callable[..., Artifact]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, example: torch.Tensor, options: ExportOptions) -> Make:
    """Exports a module of its own, with changed options; its exports share a base."""
    shared: dict[int, Path] = {}

    def export(module: nn.Module, **changes: Any) -> Artifact:
        folder = shared.setdefault(id(module), tmp_path_factory.mktemp("shared"))
        own = replace(options, shared_dir=folder, **changes)
        return find_format("onnx-fp16").export(module, example, tmp_path_factory.mktemp("made"), own)

    return export


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_it_agrees_at_every_batch_size(made: Artifact, reference: Reference, size: int) -> None:
    found = in_batches(find_format("onnx-fp16").session(made, threads=1), reference.pixels, size)
    assert found.dtype == np.float32
    error = np.max(np.abs(found - reference.logits)) / np.max(np.abs(reference.logits))
    assert 0 < error < 5e-3, "rounded to fp16, and no worse"


def test_the_weights_are_fp16_and_the_normalisation_is_not(made: Artifact) -> None:
    model = onnx.load(str(made.path))
    fixed = constants(model)
    kinds = {node.name: {fixed[name].data_type for name in node.input if name in fixed} for node in model.graph.node}
    weighted = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert [kinds[name] for name in weighted] == [{TensorProto.FLOAT16}] * 3
    assert made.details["fp16_weights"] == 3
    pointwise = [node for node in model.graph.node if node.op_type in ("Mul", "Add")]
    assert [kinds[node.name] for node in pointwise] == [{TensorProto.FLOAT}] * 2
    assert made.bytes < 0.8 * 52_000


def test_bytes_in_floats_out_one_file_without_paths(made: Artifact) -> None:
    session = onnxruntime.InferenceSession(str(made.path))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.type, answer.type) == ("tensor(uint8)", "tensor(float)")
    assert all(isinstance(size, str) for size in answer.shape)
    assert [path.name for path in made.path.parent.iterdir()] == ["model.onnx"]
    content = made.path.read_bytes()
    assert not any(
        str(path).encode() in content for path in (Path.cwd(), made.path.parent, Path(torch.__file__).parent)
    )


def test_nothing_overflows_in_a_sane_network(made: Artifact) -> None:
    assert made.details["overflow"] == []
    assert 0 < made.details["largest_activation"]["value"] < 100
    assert made.details["images_measured"] == 16


class Loud(nn.Module):
    """Values leave fp16 between two layers and come back: fp32 does not mind."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inner.features[:4](images)  # type: ignore[index,union-attr]
        features = torch.relu(features * 1e5) / 1e5
        return self.inner.head(self.inner.features[4:](features).flatten(1))  # type: ignore[index,operator,union-attr]


@pytest.fixture(scope="module")
def loud(trained: small_model.SmallCnn) -> NormalisedNetwork:
    return wrap(Loud(trained), NORMALISE)


def test_an_activation_beyond_fp16_is_reported_with_its_node(make: Make, loud: NormalisedNetwork) -> None:
    details = make(loud).details
    found = {(entry["kind"], entry["op"]) for entry in details["overflow"]}
    assert found == {("weight", "Mul"), ("weight", "Div"), ("activation", "Mul"), ("activation", "Relu")}
    largest = details["largest_activation"]
    assert largest["value"] > LARGEST and largest["node"] in {entry["node"] for entry in details["overflow"]}


def test_the_reported_overflow_is_what_fp16_arithmetic_does(
    make: Make, loud: NormalisedNetwork, reference: Reference
) -> None:
    """Emulated, because onnxruntime's CPU computes fp16 in fp32: each fp16 tensor is rounded where it is made."""
    pixels = reference.pixels[:2]
    expected = eager_network(loud)(pixels)
    assert not np.isfinite(_in_fp16(make(loud).path, pixels)).all()
    names = tuple(entry["node"] for entry in make(loud).details["overflow"])
    mended = make(loud, keep_float=names)
    assert mended.details["overflow"] == []
    found = _in_fp16(mended.path, pixels)
    assert np.max(np.abs(found - expected)) < 5e-3 * np.max(np.abs(expected))


def _in_fp16(path: Path, pixels: np.ndarray) -> np.ndarray:
    """onnx's own evaluator in numpy, which keeps to the types of the file."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(over="ignore", invalid="ignore"):
        (answer,) = ReferenceEvaluator(str(path)).run(None, {"pixels": pixels})
    return np.asarray(answer)


def test_kept_nodes_are_in_fp32_and_their_neighbours_are_not(make: Make, reference: Reference, made: Artifact) -> None:
    names = [node.name for node in onnx.load(str(made.path)).graph.node if node.op_type == "Conv"]
    kept = make(reference.module, keep_float=(names[0],))
    model = onnx.load(str(kept.path))
    fixed = constants(model)
    kinds = [fixed[node.input[1]].data_type for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.FLOAT16]
    assert kept.details["kept_in_fp32"] == [names[0]]
    first = makers(model)[next(node for node in model.graph.node if node.op_type == "Conv").input[0]]
    assert first.name == normalise_nodes(onnx.load(str(kept.path)))[-1], "no cast between two nodes in fp32"


def test_a_weight_that_both_precisions_read_is_given_to_each(make: Make, example: torch.Tensor) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.head = nn.Linear(3, 6)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(torch.relu(self.conv(images))).mean((2, 3)))

    torch.manual_seed(0)
    module = wrap(Shared(), NORMALISE)
    plain = onnx.load(str(make(module).path))
    name = next(node.name for node in plain.graph.node if node.op_type == "Conv")
    artifact = make(module, keep_float=(name,))
    found = find_format("onnx-fp16").session(artifact)(example.numpy())
    expected = eager_network(module)(example.numpy())
    assert np.max(np.abs(found - expected)) < 5e-3 * np.max(np.abs(expected))


def test_a_node_that_is_not_there_cannot_stay_in_fp32(make: Make, reference: Reference) -> None:
    with pytest.raises(ExportFailed, match=r"node_Gem.*node_"):
        make(reference.module, keep_float=("node_Gem",))


def test_without_calibration_images_the_example_is_measured(make: Make, reference: Reference) -> None:
    assert make(reference.module, calibration=None).details["images_measured"] == 2


def test_the_base_is_left_as_it_was(reference: Reference, example: torch.Tensor, options: ExportOptions) -> None:
    base = base_onnx(reference.module, example, options)
    before = base.read_bytes()
    find_format("onnx-fp16").export(reference.module, example, base.parent, replace(options, opset=18))
    assert base.read_bytes() == before
