"""The Q/DQ lint finds every planted fault and names the node."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.formats.qdq_lint import lint


def quantised() -> Any:
    """A convolution as TensorRT wants it: Q/DQ on its input, Q/DQ per channel on its weights."""
    random = np.random.default_rng(0)
    values = {
        "weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bias": random.normal(size=4).astype(np.float32),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "weight_scale": np.full(4, 0.01, np.float32),
        "weight_zero": np.zeros(4, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], "dq"),
        helper.make_node("QuantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wq"], "wq", axis=0),
        helper.make_node("DequantizeLinear", ["wq", "weight_scale", "weight_zero"], ["wdq"], "wdq", axis=0),
        helper.make_node("Conv", ["dq", "wdq", "bias"], ["out"], "conv"),
    ]
    graph = helper.make_graph(
        nodes,
        "lint",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def put(model: Any, name: str, value: np.ndarray) -> None:
    next(item for item in model.graph.initializer if item.name == name).CopyFrom(numpy_helper.from_array(value, name))


def node(model: Any, name: str) -> Any:
    return next(item for item in model.graph.node if item.name == name)


def axis(model: Any, *names: str) -> None:
    for name in names:
        node(model, name).attribute[0].i = 1


def other_scale(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.03, np.float32), "other"))
    node(model, "dq").input[1] = "other"


def computed_scale(model: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["scale"], ["late"], "identity"))
    node(model, "q").input[1] = node(model, "dq").input[1] = "late"


def quantised_bias(model: Any) -> None:
    for name, value in (
        ("b8", np.ones(4, np.int32)),
        ("bs", np.full(4, 0.1, np.float32)),
        ("bz", np.zeros(4, np.int32)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b8", "bs", "bz"], ["bdq"], "bdq", axis=0))
    node(model, "conv").input[2] = "bdq"


def unpaired(model: Any) -> None:
    model.graph.node.append(helper.make_node("Cast", ["q"], ["cast"], "cast", to=TensorProto.FLOAT))


def activation_per_channel(model: Any) -> None:
    put(model, "scale", np.full(3, 0.02, np.float32))
    put(model, "zero", np.zeros(3, np.int8))


def no_zero_point(model: Any) -> None:
    del node(model, "q").input[2]


def no_pairs(model: Any) -> None:
    node(model, "conv").input[0], node(model, "conv").input[1] = "images", "weight"
    del model.graph.node[:4]


FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (
        lambda model: put(model, "scale", np.array(0.0, np.float32)),
        r"QuantizeLinear \(q\): 1 of 1 scales are not positive",
    ),
    (lambda model: put(model, "weight_scale", np.array([1, -1, 1, 1], np.float32)), r"\(wq\): 1 of 4 scales"),
    (lambda model: put(model, "weight_scale", np.array([1, np.nan, 1, 1], np.float32)), r"\(wdq\): 1 of 4 scales"),
    (lambda model: put(model, "zero", np.array(3, np.int8)), r"\(q\): its zero point is 3, and must be 0"),
    (lambda model: put(model, "zero", np.array(0, np.uint8)), r"\(dq\): it is uint8; only int8"),
    (lambda model: axis(model, "wq", "wdq"), r"per channel on axis 1; the output channels of Conv \(conv\) are axis 0"),
    (lambda model: axis(model, "wdq"), r"\(wdq\): its scale, zero point or axis is not that of QuantizeLinear \(wq\)"),
    (other_scale, r"\(dq\): its scale, zero point or axis is not that of QuantizeLinear \(q\)"),
    (computed_scale, r"\(q\): its scale is computed"),
    (quantised_bias, r"\(bdq\): it is int32 \(a quantized bias\)"),
    (unpaired, r"\(q\): Cast \(cast\) reads its integers"),
    (activation_per_channel, r"\(dq\): an activation has 3 scales"),
    (no_zero_point, r"\(q\): it has no zero point, which means uint8"),
    (no_pairs, "nothing is quantized"),
]


def test_a_sound_graph_has_no_faults() -> None:
    model = quantised()
    onnx.checker.check_model(model, full_check=True)
    assert lint(model) == []


@pytest.mark.parametrize(("plant", "words"), FAULTS)
def test_every_planted_fault_is_found_with_its_node(plant: Callable[[Any], None], words: str) -> None:
    model = quantised()
    plant(model)
    found = "\n".join(lint(model))
    assert re.search(words, found), found
