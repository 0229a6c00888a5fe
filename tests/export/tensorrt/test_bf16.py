"""The bf16 graph: valid, close to the trained network, fp32 where it must be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.gates.base import Reference
from export.tensorrt.bf16 import emulated_in_float, to_bf16
from export.tensorrt.graph import BF16_OPSET, for_tensorrt
from export.tensorrt.lint import lint
from export.tensorrt.operators import unsupported
from export.tensorrt.runner.measure import compare
from tests.export.tensorrt.conftest import Run

FLOAT, BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16


@pytest.fixture(scope="module")
def portable(base: Path) -> onnx.ModelProto:
    return for_tensorrt(onnx.load(str(base)))


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    typed = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*typed.value_info, *typed.output)}


def test_it_is_valid_and_only_new_versions_read_it(portable: onnx.ModelProto) -> None:
    model = to_bf16(portable)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == BF16_OPSET
    assert lint(model, "bf16") == []
    assert unsupported(model, "8.6.1")


def test_the_normalisation_and_the_outputs_stay_in_fp32(portable: onnx.ModelProto) -> None:
    model = to_bf16(portable)
    found = kinds(model)
    first = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
    assert {found[node.output[0]] for node in model.graph.node[: first - 1]} == {FLOAT}
    assert {found[node.output[0]] for node in model.graph.node[first:-1]} == {BFLOAT16}
    assert found["logits"] == FLOAT
    assert Counter(node.op_type for node in model.graph.node)["Cast"] == 3


def test_weights_are_halved(portable: onnx.ModelProto) -> None:
    assert to_bf16(portable).ByteSize() < 0.6 * portable.ByteSize()


def test_it_agrees_with_the_trained_network(portable: onnx.ModelProto, run_graph: Run, reference: Reference) -> None:
    answer = run_graph(emulated_in_float(to_bf16(portable)), reference.pixels)
    found = compare(answer, reference.logits, np.full(len(answer), -1), step=2.0**-8)
    assert found["agreement"] == 1.0
    assert 30 < found["sqnr_db"] < 80, "bf16 keeps 8 bits: neither lost nor left in fp32"


def test_the_emulation_rounds(portable: onnx.ModelProto, run_graph: Run, reference: Reference) -> None:
    kept = [node.name for node in portable.graph.node]
    exact = run_graph(emulated_in_float(to_bf16(portable, kept)), reference.pixels)
    rounded = run_graph(emulated_in_float(to_bf16(portable)), reference.pixels)
    scale = np.abs(reference.logits).max()
    assert np.abs(exact - reference.logits).max() < 1e-5 * scale < np.abs(rounded - reference.logits).max()


def test_nodes_can_be_kept_in_fp32(portable: onnx.ModelProto) -> None:
    head = next(node.name for node in portable.graph.node if node.op_type == "Gemm")
    model = to_bf16(portable, [head])
    onnx.checker.check_model(model, full_check=True)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    assert kinds(model)[gemm.output[0]] == FLOAT
    assert lint(model, "bf16") == []
