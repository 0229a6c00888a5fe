"""The INT8 formats on networks that learnt something: really int8, real images, fp32 where it was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.onnx_graph import constants, makers, normalise_nodes
from export.formats.qdq_lint import lint
from export.formats.ranges import largest_values, measured_ranges
from export.formats.registry import find_format
from export.gates.base import Reference, in_batches
from export.wrap import NormalisedNetwork, eager_network, wrap
from slipway.contract import Normalise
from slipway.errors import ExportFailed, SamplesInvalid, SpecInvalid
from slipway.spec import ModelSpec
from slipway.spec.int8 import Int8Spec
from tests.export import small_model

NAMES = ("onnx-int8", "onnx-int8-trt")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> ExportOptions:
    folder = tmp_path_factory.mktemp("int8")
    (folder / "shared").mkdir()
    pixels = np.stack([reference._preprocessed(item.name, item.encoded) for item in reference.held_out.images[::2]])
    return ExportOptions(8, folder / "logs", shared_dir=folder / "shared", calibration=pixels)


Make = Callable[..., Artifact]


@pytest.fixture(scope="module")
def make(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, example: torch.Tensor, options: ExportOptions
) -> Make:
    """Exports the trained network in a format, with changed options."""

    def export(name: str, **changes: Any) -> Artifact:
        folder = tmp_path_factory.mktemp(name)
        return find_format(name).export(reference.module, example, folder, replace(options, **changes))

    return export


@pytest.fixture(scope="module")
def made(make: Make) -> dict[str, Artifact]:
    return {name: make(name) for name in NAMES}


def sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(expected**2) / np.sum((expected - found) ** 2)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_it_answers_like_the_trained_network_at_every_batch_size(
    made: dict[str, Artifact], reference: Reference, name: str, size: int
) -> None:
    found = in_batches(find_format(name).session(made[name], threads=1), reference.pixels, size)
    assert found.dtype == np.float32
    assert sqnr(reference.logits, found) > 25.0
    assert np.mean(found.argmax(1) == reference.logits.argmax(1)) >= 15 / 16


def test_the_x86_file_holds_int8_weights_per_channel_and_uint8_activations(made: dict[str, Artifact]) -> None:
    model = onnx.load(str(made["onnx-int8"].path))
    fixed, kinds = constants(model), Counter[int]()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in fixed:
            weight, scale = fixed[node.input[0]], numpy_helper.to_array(fixed[node.input[1]])
            kinds[weight.data_type] += 1
            if weight.data_type == TensorProto.INT8:
                assert scale.shape == (weight.dims[0],)
        if node.op_type == "QuantizeLinear":
            assert fixed[node.input[2]].data_type == TensorProto.UINT8
    assert kinds == {TensorProto.INT8: 3, TensorProto.INT32: 3}, "three layers with their biases"
    assert not [item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT and item.dims[1:]][2:]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == made["onnx-int8"].details["quantizers"]
    assert made["onnx-int8"].bytes < 0.6 * 52_000


@pytest.mark.parametrize("name", NAMES)
def test_input_and_normalisation_and_logits_stay_what_they_are(made: dict[str, Artifact], name: str) -> None:
    model = onnx.load(str(made[name].path))
    session = onnxruntime.InferenceSession(str(made[name].path))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("pixels", "tensor(uint8)", [32, 32, 3])
    assert (answer.name, answer.type) == ("logits", "tensor(float)")
    assert all(isinstance(size, str) for size in answer.shape)
    assert [node.op_type for node in model.graph.node if node.name in normalise_nodes(model)][-2:] == ["Mul", "Add"]
    head = makers(model)[makers(model)["logits"].input[0]]
    assert head.op_type == "Gemm", "the logits pass through no integers"


@pytest.mark.parametrize("name", NAMES)
def test_one_file_of_the_opset_asked_for_without_paths(made: dict[str, Artifact], name: str) -> None:
    assert made[name].details["opset"] == 18
    assert [path.name for path in made[name].path.parent.iterdir()] == ["model.onnx"]
    content = made[name].path.read_bytes()
    for path in (Path.cwd(), made[name].path.parent, Path(torch.__file__).parents[1]):
        assert str(path).encode() not in content


@pytest.mark.parametrize("name", NAMES)
def test_nodes_that_are_to_stay_in_fp32_do(
    make: Make, reference: Reference, made: dict[str, Artifact], name: str
) -> None:
    convolution = next(node for node in onnx.load(str(made[name].path)).graph.node if node.op_type == "Conv")
    kept = make(name, keep_float=(convolution.name,))
    model = onnx.load(str(kept.path))
    node = next(item for item in model.graph.node if item.name == convolution.name)
    assert constants(model)[node.input[1]].data_type == TensorProto.FLOAT
    assert kept.details["kept_in_fp32"] == [convolution.name]
    assert kept.details["quantizers"] < made[name].details["quantizers"]
    found = find_format(name).session(kept)(reference.pixels)
    assert sqnr(reference.logits, found) > 25.0


@pytest.mark.parametrize("name", NAMES)
def test_a_node_that_is_not_there_cannot_stay_in_fp32(make: Make, name: str) -> None:
    with pytest.raises(ExportFailed, match=r"node_Konv_1.*node_Conv"):
        make(name, keep_float=("node_Konv_1",))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("count", "words"), [(None, "no real images"), (0, "no real images"), (3, "too few")])
def test_without_enough_calibration_images_nothing_is_made(
    make: Make, options: ExportOptions, name: str, count: int | None, words: str
) -> None:
    assert options.calibration is not None
    pixels = None if count is None else options.calibration[:count]
    with pytest.raises(SamplesInvalid, match=rf"{name}: {words}.*calibration\.images"):
        make(name, calibration=pixels)


def test_seven_bits_are_the_default_and_eight_a_choice(make: Make, made: dict[str, Artifact]) -> None:
    assert made["onnx-int8"].details["reduce_range"] is True
    eight = make("onnx-int8", int8=Int8Spec(reduce_range=False))
    assert _largest_weight(made["onnx-int8"]) <= 64 < _largest_weight(eight) <= 127


def _largest_weight(artifact: Artifact) -> int:
    items = onnx.load(str(artifact.path)).graph.initializer
    return max(int(np.abs(numpy_helper.to_array(item).astype(int)).max()) for item in items if item.data_type == 3)


def test_percentiles_leave_outliers_out(make: Make, reference: Reference, made: dict[str, Artifact]) -> None:
    tight = make("onnx-int8", int8=Int8Spec(method="percentile", percentile=99.0))
    assert tight.details["method"] == "percentile"
    wide_scale, tight_scale = (_input_scale(item) for item in (made["onnx-int8"], tight))
    assert tight_scale < wide_scale
    assert sqnr(reference.logits, find_format("onnx-int8").session(tight)(reference.pixels)) > 10.0


def _input_scale(artifact: Artifact) -> float:
    """Of what the first convolution's output is quantized with."""
    model = onnx.load(str(artifact.path))
    first = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][1]
    return float(numpy_helper.to_array(constants(model)[first.input[1]]))


def test_ranges_are_measured_once_and_again_for_other_images(
    make: Make, made: dict[str, Artifact], options: ExportOptions
) -> None:
    assert options.shared_dir is not None and options.calibration is not None
    before = sorted(options.shared_dir.glob("ranges-minmax-*.json"))
    make("onnx-int8")
    assert sorted(options.shared_dir.glob("ranges-minmax-*.json")) == before
    make("onnx-int8", calibration=options.calibration[::-1][:9])
    assert len(list(options.shared_dir.glob("ranges-minmax-*.json"))) == len(before) + 1
    assert not [path for path in options.shared_dir.iterdir() if path.is_dir()], "nothing is left behind"


def test_the_measured_ranges_are_those_of_the_images(
    reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    assert options.calibration is not None
    base = base_onnx(reference.module, example, options)
    largest = largest_values(measured_ranges(base, options.calibration, Int8Spec(), tmp_path))
    expected = np.abs(reference.run(options.calibration)).max()
    assert largest["logits"] == pytest.approx(expected, rel=1e-5)


class Residual(nn.Module):
    """Two residual blocks, the first with a convolution in its shortcut, as ResNets have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.main = nn.ModuleList([nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)])
        self.more = nn.Conv2d(16, 16, 3, padding=1)
        self.side = nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(images))
        x = torch.relu(self.main[1](torch.relu(self.main[0](x))) + self.side(x))
        x = torch.relu(x + self.more(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def residual() -> NormalisedNetwork:
    torch.manual_seed(1)
    return wrap(Residual(), Normalise(scale=255.0, mean=small_model.MEAN, std=small_model.STD))


def test_for_tensorrt_the_shortcuts_of_residual_additions_are_quantized_and_their_other_sides_are_not(
    residual: NormalisedNetwork, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    own = replace(options, shared_dir=tmp_path / "shared")
    artifact = find_format("onnx-int8-trt").export(residual, example, tmp_path, own)
    model = onnx.load(str(artifact.path))
    made = makers(model)
    additions = [node for node in model.graph.node if node.op_type == "Add" and not node.input[1].startswith("offset")]
    assert artifact.details["shortcuts"] == len(additions) == 2
    assert [sorted(made[name].op_type for name in node.input) for node in additions] == [
        ["Conv", "DequantizeLinear"]
    ] * 2
    assert lint(model) == []
    assert options.calibration is not None
    expected = eager_network(residual)(options.calibration)
    assert sqnr(expected, find_format("onnx-int8-trt").session(artifact)(options.calibration)) > 25.0


def test_for_tensorrt_everything_is_symmetric_int8_and_biases_stay_in_fp32(made: dict[str, Artifact]) -> None:
    model = onnx.load(str(made["onnx-int8-trt"].path))
    assert lint(model) == []
    fixed = constants(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert fixed[node.input[2]].data_type == TensorProto.FLOAT
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert fixed[node.input[2]].data_type == TensorProto.INT8


class Attention(nn.Module):
    """A small transformer: patches, one block, and a residual with a channel far louder than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        self.norms = nn.ModuleList([nn.LayerNorm(32) for _ in range(3)])
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 6)
        self.position = nn.Parameter(torch.randn(16, 32) / 10)
        with torch.no_grad():
            self.position[:, 0] = 300.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        x = x + self.out((q @ k.transpose(1, 2) / 32**0.5).softmax(-1) @ v)
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x).mean(1))


@pytest.fixture(scope="module")
def attention() -> NormalisedNetwork:
    torch.manual_seed(2)
    return wrap(Attention(), Normalise(scale=255.0, mean=small_model.MEAN, std=small_model.STD))


@pytest.mark.parametrize("name", NAMES)
def test_the_residual_of_a_transformer_stays_in_float(
    attention: NormalisedNetwork,
    example: torch.Tensor,
    options: ExportOptions,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
) -> None:
    assert options.calibration is not None
    folder = tmp_path_factory.mktemp("attention")
    artifact = find_format(name).export(attention, example, folder, replace(options, shared_dir=folder))
    model = onnx.load(str(artifact.path))
    made = makers(model)
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert [made[node.input[0]].op_type for node in norms] == ["Add"] * 3
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert {made[side].op_type for node in products for side in node.input} == {"DequantizeLinear"}
    found = find_format(name).session(artifact)(options.calibration)
    assert sqnr(eager_network(attention)(options.calibration), found) > 20.0


def test_a_specification_can_choose(spec: ModelSpec) -> None:
    assert spec.int8 == Int8Spec(reduce_range=True, method="minmax")
    assert spec.changed(["int8.method=percentile", "int8.percentile=99.9"]).int8.percentile == 99.9
    with pytest.raises(SpecInvalid, match=r"int8\.method"):
        spec.changed(["int8.method=guess"])
