"""Layer by layer: formats that agree, formats that part at a known layer, and the command that tells it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.registry import find_format
from export.gates.base import Reference
from export.layers.cause import cause
from export.layers.compare import THRESHOLDS, Comparison, compare, sqnr_db
from export.layers.graph import Frame, read_frame
from export.layers.kernels import kernel_loss
from export.layers.tapping import tap_artifact, tap_eager
from export.layers.taps import Grid, round_to_bfloat, round_to_half
from export.wrap import wrap
from slipway.cli.explain import explain_diff
from slipway.errors import ExportFailed
from tests.export import layered_model
from tests.export.conftest import with_module


@pytest.fixture(scope="module")
def trained_layers() -> layered_model.Layered:
    return layered_model.train()


class Made:
    """One network, its frame, and formats of it on demand."""

    def __init__(self, reference: Reference, module: torch.nn.Module, folder: Path) -> None:
        self.reference = with_module(reference, wrap(module, reference.contract.normalise))
        self.example = torch.from_numpy(reference.pixels[:2].copy())
        self.folder = folder
        self.options = ExportOptions(8, folder / "logs", shared_dir=folder, calibration=reference.pixels)
        self.frame: Frame = read_frame(base_onnx(self.reference.module, self.example, self.options))

    def artifact(self, name: str) -> Artifact:
        target = self.folder / name
        target.mkdir(exist_ok=True)
        return find_format(name).export(self.reference.module, self.example, target, self.options)

    def compare(self, artifact: Artifact) -> Comparison:
        base = tap_artifact(Artifact("onnx", self.frame.path, 0.0), self.frame)
        return compare(self.frame, base, tap_artifact(artifact, self.frame), self.reference.pixels[:4])


@pytest.fixture(scope="module")
def sound(
    reference: Reference, trained_layers: layered_model.Layered, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    return Made(reference, trained_layers, tmp_path_factory.mktemp("sound"))


def test_the_frame_names_modules_and_leaves_constants_out(sound: Made) -> None:
    layers = sound.frame.layers
    assert [layer.op for layer in layers].count("Conv") == 7
    assert {"stem.1", "pairs.0.1.1", "head"} <= {layer.module for layer in layers}
    assert sound.frame.output == layers[-1].tensor == "logits"
    assert all(set(layer.inputs) <= set(sound.frame.by_tensor) for layer in layers)
    head = layers[-1]
    assert [item.op for item in sound.frame.producers(head)] == ["ReduceMean"]
    stem = next(item for item in layers if item.op == "Conv")
    assert [item.op for item in sound.frame.consumers(stem)] == ["Relu", "Conv"]


@pytest.mark.parametrize(
    ("name", "least"), [("openvino", 100.0), ("torch-export", 100.0), ("onnx-fp16", 40.0), ("onnx-int8", 15.0)]
)
def test_a_sound_format_agrees_in_every_layer(sound: Made, name: str, least: float) -> None:
    comparison = sound.compare(sound.artifact(name))
    assert len(comparison.layers) >= 8, "most layers are compared, not the output alone"
    assert comparison.layers[-1].tensor == "logits"
    assert min(layer.sqnr_db for layer in comparison.layers) > least
    assert comparison.first_difference(THRESHOLDS[find_format(name).precision]) is None
    assert max(layer.max_relative for layer in comparison.layers) > 0, "two different runtimes are never equal to a bit"


def test_openvino_int8_shows_its_quantised_layers(sound: Made) -> None:
    comparison = sound.compare(sound.artifact("openvino-int8"))
    rounded = [layer for layer in comparison.layers if layer.rounding_sqnr_db is not None]
    assert len(rounded) >= 6
    assert all(layer.fused for layer in rounded if layer.op == "Conv+Relu")
    assert min(layer.sqnr_db for layer in comparison.layers) > 15


def test_a_format_without_inner_values_says_so(sound: Made) -> None:
    comparison = sound.compare(sound.artifact("torchscript"))
    assert [layer.tensor for layer in comparison.layers] == ["logits"]
    assert len(comparison.unseen) == len(sound.frame.layers) - 1
    assert comparison.notes == ("torchscript shows its output only: its runtime inlines the modules",)


def test_the_eager_model_is_followed_module_by_module_also_past_in_place_activations(
    reference: Reference, trained_layers: layered_model.Layered, sound: Made
) -> None:
    changed = wrap(layered_model.scaled(trained_layers, 1.0, slice(None)), reference.contract.normalise)
    for item in changed.modules():
        if isinstance(item, torch.nn.ReLU):
            item.inplace = True
    base = tap_artifact(Artifact("onnx", sound.frame.path, 0.0), sound.frame)
    comparison = compare(sound.frame, tap_eager(changed, sound.frame), base, reference.pixels[:2])
    assert {"stem.1", "stem.2", "pairs.2.1.1", "head"} <= {layer.module for layer in comparison.layers}
    assert min(layer.sqnr_db for layer in comparison.layers) > 100


def test_one_wrong_weight_is_found_at_its_layer(
    sound: Made, reference: Reference, trained_layers: layered_model.Layered, tmp_path: Path
) -> None:
    """A planted export: one filter of the second pair is another one."""
    wrong = layered_model.scaled(trained_layers, 1.0, slice(None))
    with torch.no_grad():
        wrong.pairs[1][1][0].weight[3] *= -1
    planted = Made(reference, wrong, tmp_path).artifact("onnx")
    comparison = sound.compare(planted)
    first = comparison.first_difference(THRESHOLDS["fp32"])
    assert first is not None
    assert first.module == "pairs.1.1.1"
    assert first.input_sqnr_db > 100
    assert comparison.costliest()[0].module == first.module


def test_fp16_overflow_is_named_with_its_value(
    reference: Reference, trained_layers: layered_model.Layered, tmp_path: Path
) -> None:
    made = Made(reference, layered_model.scaled(trained_layers, 2e4, slice(None)), tmp_path)
    comparison = made.compare(made.artifact("onnx-fp16"))
    first = comparison.first_difference(THRESHOLDS["fp16"])
    assert first is not None
    assert first.module == "pairs.0.1.1"
    assert "overflows fp16: its values reach 1." in cause(comparison, first)


def test_an_outlier_channel_is_named_although_its_tensor_looks_well(
    reference: Reference, trained_layers: layered_model.Layered, tmp_path: Path
) -> None:
    made = Made(reference, layered_model.scaled(trained_layers, 3000.0, slice(0, 1)), tmp_path)
    comparison = made.compare(made.artifact("onnx-int8"))
    first = comparison.first_difference(THRESHOLDS["int8"])
    assert first is not None
    assert first.module == "pairs.1.0.1"
    assert first.input_sqnr_db > 25, "the tensor with the outlier keeps its ratio; its reader loses it"
    assert "a few channels of node_relu" in cause(comparison, first)
    assert "take the whole range" in cause(comparison, first)


def test_integer_kernels_that_saturate_are_told_from_a_bad_file(sound: Made, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pixels(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(sound.reference.pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {"pixels": image[None]}

    losses = []
    for reduce_range in (True, False):
        path = tmp_path / f"{reduce_range}.onnx"
        quantize_static(
            str(sound.frame.path),
            str(path),
            Pixels(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        losses.append(kernel_loss(path, sound.frame, sound.reference.pixels[:4]))
    assert losses[0] is None
    assert kernel_loss(sound.frame.path, sound.frame, sound.reference.pixels[:4]) is None
    vnni = "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    if not vnni:  # where the processor has it, 8 bits are right too
        assert losses[1] is not None
        assert "reduce_range" in losses[1]


def test_a_file_that_is_none_is_refused(sound: Made, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not an onnx file")
    with pytest.raises(ExportFailed, match="cannot be opened layer by layer"):
        tap_artifact(Artifact("onnx-int8", path, 0.0), sound.frame)


def test_grids_round_as_the_quantisers_do() -> None:
    grid = Grid(np.float32(-1.0), np.float32(1.55), 256)
    values = np.array([-3.0, -1.0, 0.004, 0.006, 1.55, 9.0], np.float32)
    assert np.allclose(grid(values), [-1.0, -1.0, 0.0, 0.01, 1.55, 1.55], atol=1e-6)
    assert grid.clipped(values) == pytest.approx(2 / 6)
    assert np.array_equal(round_to_half(np.array([1.0, 65504.0, 7e4], np.float32)), [1.0, 65504.0, np.inf])
    random = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert np.array_equal(round_to_bfloat(random), torch.from_numpy(random).bfloat16().float().numpy())


def test_ratios_have_ends() -> None:
    assert sqnr_db(1.0, 0.0) == 200.0
    assert sqnr_db(0.0, 1.0) == -200.0
    assert sqnr_db(1.0, 0.01) == pytest.approx(20.0)
    assert sqnr_db(1.0, float("nan")) == -np.inf


def test_the_command_prints_a_table_and_json(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.export.conftest import SPEC

    root = tmp_path / "root"
    (root / "config" / "models").mkdir(parents=True)
    values = {**SPEC, "samples": str(project / "samples"), "source": {**SPEC["source"]}}
    values["source"]["checkpoint"] = str(project / "weights.pt")
    (root / "config" / "models" / "small.yaml").write_text(json.dumps(values))
    monkeypatch.setenv("SLIPWAY_ROOT", str(root))
    app = typer.Typer()
    app.command()(explain_diff)
    shown = CliRunner().invoke(app, ["small", "--format", "openvino"])
    assert shown.exit_code == 0, shown.output
    assert "SQNR dB" in shown.output
    assert "openvino and onnx do not part" in shown.output
    image = next((project / "samples").glob("coffee_*.png"))
    arguments = ["small", "--format", "onnx-int8", "--against", "eager", "--image", str(image), "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert (found["format"], found["against"], found["images"]) == ("onnx-int8", "eager", 1)
    assert {layer["module"] for layer in found["layers"]} >= {"features.1", "head"}
    assert not list((root / ".slipway").rglob("export-*/*")), "the workspace is gone"
