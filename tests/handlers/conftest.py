"""Fixtures of the handlers' tests: a contract, and a tiny real ONNX network that needs no torch to be made."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from slipway.contract import Contract, Network, Postprocess, Preprocess

SIDE = 32
CLASSES = 5


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract(
        model="tiny",
        task="classification",
        preprocess=Preprocess(SIDE, SIDE, resize_to=36),
        network=Network("tiny.onnx", "onnx", "model.onnx", max_batch_size=4),
        labels=tuple(f"label {index}" for index in range(CLASSES)),
        postprocess=Postprocess(top_k=3),
    )


@pytest.fixture(scope="session")
def thousand(contract: Contract) -> Contract:
    return replace(contract, labels=tuple(map(str, range(1000))))


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """The reference of resizing; through the operator shim, because it cannot import beside a CPU build of torch."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision, the reference of resizing, is not installed here")
    from export.sources.torchvision_shim import import_torchvision

    return import_torchvision()


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mean over each of the three channels, times a fixed matrix: uint8[N, 32, 32, 3] -> float32[N, 5]."""
    onnx = pytest.importorskip("onnx", reason="the network of these tests is written with the onnx package")
    weights = np.random.default_rng(0).normal(size=(3, CLASSES)).astype(np.float32) / 32
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["wide"], to=kinds.FLOAT),
            helper.make_node("ReduceMean", ["wide", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", kinds.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", CLASSES])],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def ir_file(onnx_file: Path) -> Path:
    """The same network as OpenVINO IR: model.xml, and model.bin beside it."""
    from handlers.networks.openvino import import_openvino

    if find_spec("openvino") is None:
        pytest.skip("openvino, which writes and reads its IR, is not installed here")
    openvino = import_openvino()
    path = onnx_file.with_name("model.xml")
    openvino.save_model(openvino.Core().read_model(str(onnx_file)), str(path), compress_to_fp16=False)
    return path
