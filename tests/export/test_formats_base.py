"""The fp32 ONNX file that the formats of one run share, and what every format says about itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch

from export.formats import onnx as onnx_format
from export.formats.base import ExportOptions
from export.formats.onnx import base_onnx
from export.formats.onnx_graph import normalise_nodes
from export.formats.registry import all_formats, find_format
from export.gates.base import Reference
from export.wrap import wrap
from slipway.errors import ExportFailed, FormatUnavailable
from slipway.spec.formats import NETWORK_FILES, FormatName
from tests.export import small_model


@pytest.fixture
def options(tmp_path: Path) -> ExportOptions:
    return ExportOptions(max_batch_size=8, log_dir=tmp_path / "logs", shared_dir=tmp_path)


def test_a_run_exports_its_base_once(
    reference: Reference, example: torch.Tensor, options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = []
    whole = onnx_format._export
    monkeypatch.setattr(onnx_format, "_export", lambda *args: exported.append(args) or whole(*args))
    first = base_onnx(reference.module, example, options)
    assert first == base_onnx(reference.module, example, options)
    for name in ("onnx", "onnx-fp16"):
        folder = first.parent / name
        folder.mkdir()
        find_format(name).export(reference.module, example, folder, options)
    assert len(exported) == 1


def test_another_module_or_a_foreign_file_is_never_taken_for_the_base(
    reference: Reference, example: torch.Tensor, options: ExportOptions, trained: small_model.SmallCnn
) -> None:
    path = base_onnx(reference.module, example, options)
    content = path.read_bytes()
    other = wrap(small_model.SmallCnn(), reference.contract.normalise)
    assert base_onnx(other, example, options).read_bytes() != content
    path.unlink()
    assert base_onnx(reference.module, example, options).read_bytes() == content
    assert options.shared_dir is not None
    elsewhere = options.shared_dir / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "base.onnx").write_bytes(b"left here by somebody")
    assert base_onnx(reference.module, example, replace(options, shared_dir=elsewhere)).read_bytes() == content


def test_the_base_is_typed_dynamic_and_whole(
    reference: Reference, example: torch.Tensor, options: ExportOptions
) -> None:
    path = base_onnx(reference.module, example, options)
    model = onnx.load(str(path))
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert [name for node in model.graph.node for name in node.output if name not in known] == []
    (given,), (answer,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert answer.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert answer.type.tensor_type.shape.dim[0].dim_param and answer.type.tensor_type.shape.dim[1].dim_value == 6
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert [kinds[name] for name in normalise_nodes(model)] == ["Transpose", "Cast", "Mul", "Add"]
    assert [item.name for item in path.parent.iterdir() if item.is_file()] == ["base.onnx"]


def test_without_a_shared_directory_it_lies_beside_the_logs(
    reference: Reference, example: torch.Tensor, options: ExportOptions
) -> None:
    path = base_onnx(reference.module, example, replace(options, shared_dir=None))
    assert path.parent.parent == options.log_dir
    shutil.rmtree(path.parent)


def test_every_format_has_its_place_and_a_line_of_its_own() -> None:
    formats = all_formats()
    assert [item.name for item in formats] == list(get_args(FormatName)), "the order of the specification"
    assert len({item.summary for item in formats}) == len(formats)
    assert all(item.summary and "\n" not in item.summary and len(item.summary) < 90 for item in formats)
    assert {item.name: item.file_name for item in formats if item.name in NETWORK_FILES} == NETWORK_FILES


def test_a_format_that_cannot_run_here_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-there")
    with pytest.raises(FormatUnavailable, match=r"aot-inductor.*a-compiler-that-is-not-there.*apt-get install g\+\+"):
        find_format("aot-inductor")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from export.formats import requirements

    present = requirements.find_spec
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name == "onnxruntime" else present(name))
    with pytest.raises(FormatUnavailable, match=r"onnx-int8.*onnxruntime.*make setup"):
        find_format("onnx-int8")


def test_a_failing_base_fails_each_format_with_its_own_name_and_log(
    reference: Reference, example: torch.Tensor, options: ExportOptions
) -> None:
    with pytest.raises(ExportFailed, match="expected opset 13"):
        find_format("onnx-fp16").export(reference.module, example, options.log_dir.parent, replace(options, opset=13))
    assert (options.log_dir / "export-onnx-fp16.log").is_file()
    assert np.all(example.numpy() == reference.pixels[:2])
