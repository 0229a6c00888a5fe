"""Gate 1 on real artefacts: what does not run, or is not what was exported, is refused by name and place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.places import place, place_of_trace
from export.formats.registry import find_format
from export.formats.specialised import name_the_line, specialised_at
from export.formats.stack_traces import SOURCE, clean_stack_traces, source_of
from export.gates.base import GateResult, Reference
from export.gates.executes import Executes
from export.gates.image_sizes import images_of_sizes
from export.images import HeldOut, HeldOutImage
from export.wrap import wrap
from slipway.errors import ExportFailed
from slipway.files import sha256_file
from tests.export import small_model
from tests.export.conftest import with_module
from tests.export.offered import example_of, offered, traced

HERE = Path(__file__)


class Baked(nn.Module):
    """Keeps the batch that it was traced with, in one of the ways that people write it."""

    def __init__(self, inner: nn.Module, way: str) -> None:
        super().__init__()
        self.inner, self.way = inner, way
        self.bias = torch.zeros(2, 6)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.inner(pixels)
        if self.way == "reshape":
            return logits.reshape(2, -1)[:, :6]  # baked: reshape
        if self.way == "size":
            return logits.reshape(int(logits.shape[0]), -1)  # baked: size
        if self.way == "constant":
            return logits + self.bias  # baked: constant
        return torch.stack([logits[index] for index in range(len(logits))])  # baked: loop


def line_of(way: str) -> str:
    number = next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# baked: {way}"))
    return f"tests/export/test_gates_executes.py:{number} in forward"


def reason(result: GateResult) -> str:
    assert not result.passed
    assert result.reason
    return result.reason


def test_a_good_export_runs_batches_and_image_sizes(artifacts: dict[str, Artifact], reference: Reference) -> None:
    for name, artifact in artifacts.items():
        result = Executes().check(reference, offered(artifact))
        assert (result.reason, result.measured["worked"]) == (None, [1, 2, 8])
        assert result.measured["image_sizes"] == ["32x32", "48x40"], "all held-out images are 32x32: one is resized"
        assert result.measured["repeat_difference"] == 0.0
        assert result.measured["sha256"] == sha256_file(artifact.path)
        assert ("opset" in result.measured) == (name == "onnx")
        assert result.found == "batches 1, 2, 8; images 32x32, 48x40"


def test_image_sizes_are_those_of_real_images_where_they_differ(reference: Reference) -> None:
    photographs = [
        HeldOutImage(f"{index}.png", _png(picture), None) for index, picture in enumerate(small_model.photographs())
    ]
    varied = replace(reference, held_out=HeldOut(tuple(photographs), ""))
    sizes = {(image.width, image.height) for image in images_of_sizes(varied, 3)}
    assert len(sizes) == 3
    assert sizes <= {picture.shape[1::-1] for picture in small_model.photographs()}


def _png(picture: np.ndarray) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("reshape", "aten::reshape with the constant [2, -1]"),
        ("size", "aten::reshape with the constant [2, -1]"),
        ("constant", "aten::add with the constant of shape [2, 6]"),
        ("loop", "aten::stack with the constant of 2 parts"),
    ],
)
def test_a_batch_baked_into_torchscript_is_named_with_its_line(
    reference: Reference, tmp_path: Path, way: str, text: str
) -> None:
    result = Executes().check(reference, traced(Baked(reference.module, way), reference, tmp_path / "model.pt"))
    assert "the batch size is baked in" in reason(result)
    assert f"({text}, written at {line_of(way)})" in reason(result)
    assert result.measured["worked"] == [2]


@pytest.mark.parametrize("way", ["reshape", "constant", "loop"])
def test_a_batch_baked_into_a_program_is_named_with_its_line(reference: Reference, tmp_path: Path, way: str) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Baked(reference.module, way), (example_of(reference),)), path)
    result = Executes().check(reference, offered(Artifact("torch-export", path, 0.0)))
    assert "the batch size is baked in: [2] work" in reason(result)
    assert f"written at {line_of(way)}" in reason(result)


def test_a_shape_baked_into_onnx_is_named_with_its_line(
    artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path
) -> None:
    """What the dynamo exporter would leave for ``x.reshape(2, -1)`` if it did not refuse: its note is kept."""
    model = onnx.load(str(artifacts["onnx"].path))
    node = _bake(model)
    node.metadata_props.add(key=SOURCE, value="model.py:7 in forward")
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    result = Executes().check(reference, offered(Artifact("onnx", path, 0.0)))
    assert "the batch size is baked in: [2] work, [1, 8] do not" in reason(result)
    assert "node baked (Reshape with the constant [2, -1], written at model.py:7 in forward)" in reason(result)


def test_an_onnx_constant_that_meets_the_batch_is_named(
    artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path
) -> None:
    model = onnx.load(str(artifacts["onnx"].path))
    gemm = next(item for item in model.graph.node if item.op_type == "Gemm")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 6), np.float32), "two"))
    added = helper.make_node("Add", [gemm.output[0], "two"], ["added"], name="add_of_two")
    _insert(model, gemm, added)
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    result = Executes().check(reference, offered(Artifact("onnx", path, 0.0)))
    assert "node add_of_two (Add with the constant of shape [2, 6])" in reason(result)


def test_where_the_artefact_keeps_no_source_the_models_own_line_is_named(reference: Reference, tmp_path: Path) -> None:
    """torch.onnx writes a file of a fixed batch, silently, when the model fixes it."""
    module = Baked(reference.module, "reshape").eval()
    path = tmp_path / "model.onnx"
    program = torch.onnx.export(
        module, (example_of(reference),), dynamo=True, input_names=["pixels"], output_names=["logits"], verbose=False
    )
    program.save(str(path), external_data=False)
    fixed = with_module(reference, module)  # type: ignore[arg-type]
    fixed.__dict__.update(pixels=reference.pixels, logits=reference.logits)  # it answers batches of two only
    result = Executes().check(fixed, offered(Artifact("onnx", path, 0.0)))
    assert "node pixels (Input with the constant [2])" in reason(result)
    assert f"the model fixes its batch at {line_of('reshape')}" in reason(result)


@pytest.mark.parametrize("name", ["onnx", "torchscript", "torch-export", "openvino"])
@pytest.mark.parametrize("way", ["reshape", "size"])
def test_an_exporter_that_refuses_a_baked_batch_can_name_its_line(
    reference: Reference, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, way: str
) -> None:
    module, options = Baked(reference.module, way).eval(), ExportOptions(max_batch_size=8, log_dir=tmp_path)
    with pytest.raises(ExportFailed) as caught:
        find_format(name).export(module, example_of(reference), tmp_path, options)
    named = name_the_line(caught.value, module, example_of(reference), tmp_path)
    assert named.message.endswith(f"the model fixes its batch at {line_of(way)}")
    assert named.message.count("the model fixes its batch at") == 1
    assert str(Path.cwd()) not in named.message
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_another_kind_stays_as_it_is(reference: Reference, tmp_path: Path) -> None:
    problem = ExportFailed("there is no memory left")
    assert name_the_line(problem, reference.module, example_of(reference), tmp_path) is problem
    about_batches = ExportFailed("batch 3 gives an error")
    assert name_the_line(about_batches, reference.module, example_of(reference), tmp_path) is about_batches


def test_a_model_that_fixes_nothing_has_no_such_line(reference: Reference) -> None:
    assert specialised_at(reference.module, example_of(reference)) is None


def test_dropout_that_was_left_on(reference: Reference, trained: nn.Module, tmp_path: Path) -> None:
    module = wrap(
        nn.Sequential(trained.features, nn.Flatten(), nn.Dropout(0.5), trained.head), reference.contract.normalise
    )
    module.module[2].train()
    path = tmp_path / "model.pt"
    torch.jit.trace(module, (example_of(reference),), check_trace=False).save(str(path))
    result = Executes().check(reference, offered(Artifact("torchscript", path, 0.0)))
    assert "the same batch gives other logits the second time" in reason(result)
    assert "dropout" in reason(result)


@pytest.mark.parametrize("name", ["onnx", "torchscript", "torch-export"])
def test_a_truncated_file_is_called_truncated(
    artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path, name: str
) -> None:
    whole = artifacts[name].path
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = Executes().check(reference, offered(Artifact(name, path, 0.0)))
    assert reason(result).startswith("it cannot be opened: ")
    assert f"the file is truncated: it ends after {path.stat().st_size:,} bytes" in reason(result)


def test_weights_of_an_openvino_file_that_are_truncated(reference: Reference, tmp_path: Path) -> None:
    options = ExportOptions(max_batch_size=8, log_dir=tmp_path / "logs")
    artifact = find_format("openvino").export(reference.module, example_of(reference), tmp_path, options)
    assert Executes().check(reference, offered(artifact)).passed
    weights = artifact.path.with_suffix(".bin")
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[: size // 2])
    assert f"model.bin is truncated: it has {size // 2:,} bytes and needs {size:,}" in reason(
        Executes().check(reference, offered(artifact))
    )
    artifact.path.write_text(artifact.path.read_text()[:-500])
    assert "before its </net>" in reason(Executes().check(reference, offered(artifact)))


def test_an_empty_file_is_called_empty(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    assert "the file is empty" in reason(Executes().check(reference, offered(Artifact("onnx", path, 0.0))))


def test_a_file_of_another_hash_than_recorded(
    artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(artifacts["onnx"].path, path)
    recorded = {"sha256": sha256_file(path)}
    assert Executes().check(reference, offered(Artifact("onnx", path, 0.0, recorded))).passed
    model = onnx.load(str(path))
    model.doc_string = "another"
    onnx.save(model, str(path))
    result = Executes().check(reference, offered(Artifact("onnx", path, 0.0, recorded)))
    assert "model.onnx is not the file that was exported: its sha256 is" in reason(result)


def test_an_opset_that_was_changed_silently(
    artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(str(artifacts["onnx"].path)), 21), str(path))
    result = Executes().check(reference, offered(replace(artifacts["onnx"], path=path)))
    assert "the opset was changed silently: model.onnx is of opset 21, asked for was 18" in reason(result)


def test_stack_traces_become_places_without_paths(reference: Reference, tmp_path: Path) -> None:
    program = torch.onnx.export(reference.module, (example_of(reference),), dynamo=True, verbose=False)
    model = program.model_proto
    assert str(HERE.parents[2]).encode() in model.SerializeToString(), "else there is nothing to clean"
    clean_stack_traces(model)
    assert str(HERE.parents[2]).encode() not in model.SerializeToString()
    places = {source_of(node) for node in model.graph.node}
    assert any(text and text.startswith("tests/export/small_model.py:") for text in places)
    assert any(text and text.startswith("export/wrap.py:") for text in places)


def test_places_are_the_same_on_every_machine(tmp_path: Path) -> None:
    assert place(str(HERE), 3, "forward") == "tests/export/test_gates_executes.py:3 in forward"
    assert place("/nowhere/on/earth/net.py", 4, "forward") == "net.py:4 in forward"
    trace = f'File "{HERE}", line 12, in forward\n    x\n  File "{torch.nn.__file__}", line 1, in relu\n    y'
    assert place_of_trace(trace) == "tests/export/test_gates_executes.py:12 in forward"
    assert place_of_trace("") is None


def _bake(model: onnx.ModelProto) -> onnx.NodeProto:
    gemm = next(item for item in model.graph.node if item.op_type == "Gemm")
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, -1], np.int64), "baked_shape"))
    return _insert(model, gemm, helper.make_node("Reshape", [gemm.output[0], "baked_shape"], ["b"], name="baked"))


def _insert(model: onnx.ModelProto, after: onnx.NodeProto, node: onnx.NodeProto) -> onnx.NodeProto:
    nodes = list(model.graph.node)
    for reader in nodes:
        reader.input[:] = [node.output[0] if name == after.output[0] else name for name in reader.input]
    index = nodes.index(after) + 1
    model.graph.node.insert(index, node)
    return model.graph.node[index]
