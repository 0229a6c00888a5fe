"""The rewrites for TensorRT keep every output, and refuse what they cannot express."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.formats.onnx import save_for_triton
from export.gates.base import Reference
from export.tensorrt.graph import PORTABLE_OPSET, for_tensorrt
from export.tensorrt.lint import lint
from export.tensorrt.operators import OPSETS, VERSIONS, table_for, unsupported
from slipway.errors import ExportFailed
from tests.export.tensorrt.conftest import Run


def graph(*nodes: Any, opset: int = 18, kind: int = TensorProto.UINT8, constants: dict[str, Any] | None = None) -> Any:
    """A checked model: ``pixels`` [batch, 8, 8, 3] to ``logits`` of any shape."""
    shape: list[Any] = ["batch", 8, 8, 3]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    body = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        values,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


PERMUTE = helper.make_node("Transpose", ["pixels"], ["planes"], name="permute", perm=[0, 3, 1, 2])
CAST = helper.make_node("Cast", ["planes"], ["images"], name="cast", to=TensorProto.FLOAT)
AXES = {"axes": np.array([2, 3], dtype=np.int64)}


def pooled(keepdims: int, axes: tuple[int, ...] = (2, 3)) -> Any:
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["pooled"], name="mean", keepdims=keepdims)
    last = helper.make_node("Flatten" if keepdims else "Relu", ["pooled"], ["logits"], name="last")
    return graph(PERMUTE, CAST, mean, last, constants={"axes": np.array(axes, dtype=np.int64)})


@pytest.mark.parametrize(("keepdims", "axes"), [(1, (2, 3)), (0, (2, 3)), (0, (-1, -2))])
def test_global_pooling_and_the_early_cast_change_no_output(
    keepdims: int, axes: tuple[int, ...], run_graph: Run, reference: Reference
) -> None:
    model = pooled(keepdims, axes)
    rewritten = for_tensorrt(model)
    pixels = np.ascontiguousarray(reference.pixels[:5, :8, :8])
    np.testing.assert_allclose(run_graph(rewritten, pixels), run_graph(model, pixels), rtol=1e-6)
    assert "ReduceMean" not in operators(rewritten)
    assert "GlobalAveragePool" in operators(rewritten)
    assert operators(rewritten)[:2] == ["Cast", "Transpose"]
    assert rewritten.opset_import[0].version == PORTABLE_OPSET


def test_other_reductions_get_their_axes_back_as_an_attribute(run_graph: Run, reference: Reference) -> None:
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["pooled"], name="rows", keepdims=1)
    peak = helper.make_node("ReduceMax", ["pooled", "last"], ["logits"], name="columns", keepdims=0)
    constants = {"axes": np.array([2], dtype=np.int64), "last": np.array([2, 3], dtype=np.int64)}
    model = graph(PERMUTE, CAST, mean, peak, constants=constants)
    rewritten = for_tensorrt(model)
    pixels = np.ascontiguousarray(reference.pixels[:3, :8, :8])
    np.testing.assert_array_equal(run_graph(rewritten, pixels), run_graph(model, pixels))
    assert all(len(node.input) == 1 for node in rewritten.graph.node if node.op_type.startswith("Reduce"))
    assert not lint(rewritten, "fp32")


def test_the_trained_network_is_rewritten_without_a_difference(
    base: Path, run_graph: Run, reference: Reference
) -> None:
    original = onnx.load(str(base))
    rewritten = for_tensorrt(original)
    wanted, found = run_graph(original, reference.pixels), run_graph(rewritten, reference.pixels)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert "GlobalAveragePool" in operators(rewritten)
    assert not lint(rewritten, "fp32")
    assert [bool(lint(original, "fp32")), unsupported(rewritten, "8.6.0")] == [True, []]


def test_the_reshape_for_onnxruntime_goes_and_the_classes_are_stated(
    base: Path, tmp_path: Path, run_graph: Run, reference: Reference
) -> None:
    save_for_triton(onnx.load(str(base)), tmp_path / "model.onnx")
    served = onnx.load(str(tmp_path / "model.onnx"))
    assert "open_class_axis" in [node.name for node in served.graph.node]
    rewritten = for_tensorrt(served)
    assert not {"Shape", "Concat", "Identity"} & set(operators(rewritten))
    batch, classes = rewritten.graph.output[0].type.tensor_type.shape.dim
    assert (batch.dim_param, classes.dim_value) == ("batch", 6)
    wanted = run_graph(served, reference.pixels)
    assert np.abs(run_graph(rewritten, reference.pixels) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_computing_with_uint8_is_refused_with_the_node() -> None:
    twice = helper.make_node("Max", ["pixels", "pixels"], ["larger"], name="max_of_pixels")
    cast = helper.make_node("Cast", ["larger"], ["images"], name="cast", to=TensorProto.FLOAT)
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["logits"], name="mean", keepdims=0)
    with pytest.raises(ExportFailed, match="max_of_pixels"):
        for_tensorrt(graph(twice, cast, mean, constants={"axes": np.array([1, 2], dtype=np.int64)}))


def test_the_lint_names_uint8_that_feeds_anything_but_a_cast() -> None:
    assert any("feeds Transpose (permute)" in line for line in lint(pooled(1), "fp32"))


def test_the_lint_refuses_a_cast_from_uint8_to_bf16() -> None:
    cast = helper.make_node("Cast", ["pixels"], ["short"], name="early", to=TensorProto.BFLOAT16)
    back = helper.make_node("Cast", ["short"], ["images"], name="back", to=TensorProto.FLOAT)
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["logits"], name="mean", keepdims=0)
    model = graph(cast, back, mean, constants={"axes": np.array([1, 2], dtype=np.int64)})
    assert any("not a cast to fp32 or fp16" in line for line in lint(model, "bf16"))


def test_a_free_height_is_found_before_a_profile_lacks_it() -> None:
    model = for_tensorrt(pooled(0))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    assert any("axes [0, 1] are free" in line for line in lint(model, "fp32"))


def test_what_opset_17_lacks_stays_in_its_own_for_newer_parsers(run_graph: Run, reference: Reference) -> None:
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["pooled"], name="mean", keepdims=0)
    mish = helper.make_node("Mish", ["pooled"], ["logits"], name="activation")
    model = graph(PERMUTE, CAST, mean, mish, constants=AXES)
    rewritten = for_tensorrt(model)
    assert rewritten.opset_import[0].version == 18
    assert "GlobalAveragePool" in operators(rewritten)
    assert lint(rewritten, "fp32") == []
    assert any("not an operator of TensorRT 8.6" in line for line in unsupported(rewritten, "8.6"))
    pixels = np.ascontiguousarray(reference.pixels[:3, :8, :8])
    np.testing.assert_allclose(run_graph(rewritten, pixels), run_graph(model, pixels), rtol=1e-6)


def test_unknown_operators_and_domains_are_named_by_version() -> None:
    gelu = helper.make_node("Gelu", ["pooled"], ["logits"], name="activation")
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["pooled"], name="mean", keepdims=0)
    model = graph(PERMUTE, CAST, mean, gelu, opset=20, constants=AXES)
    old = unsupported(model, "8.6.1")
    assert any("opset 20" in line for line in old)
    assert any("Gelu (activation): not an operator of TensorRT 8.6" in line for line in old)
    assert unsupported(model, "10.16.1") == unsupported(model, "11.4.0") == []
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    assert "domain com.example" in unsupported(model, "11.4.0")[0]


def test_every_version_has_a_table() -> None:
    assert set(OPSETS) == set(VERSIONS)
    versions = ("8.6.1", "9.2", "10.16.1", "11.4.0.106")
    assert [table_for(version) for version in versions] == ["8.6", "8.6", "10.15", "10.15"]


def test_dilated_pooling_is_refused() -> None:
    pool = helper.make_node(
        "MaxPool", ["images"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2]
    )
    mean = helper.make_node("ReduceMean", ["pooled", "axes"], ["logits"], name="mean", keepdims=0)
    model = for_tensorrt(graph(PERMUTE, CAST, pool, mean, constants=AXES))
    assert any("pool): dilated pooling" in line for line in lint(model, "fp32"))
