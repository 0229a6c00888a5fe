"""The openvino backend over real IR files; Triton's own classes, which exist only in its stub, are stood for.

tests/e2e/test_openvino.py runs it inside the real server.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from handlers.networks.openvino import import_openvino
from tests.serving.triton.test_backends import Pb, Request

if find_spec("openvino") is None:
    pytest.skip("openvino is not installed here", allow_module_level=True)

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
Backend = Callable[..., Any]


class Refused(Exception):
    """TritonModelException."""


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, files: Path) -> Iterator[ModuleType]:
    utils = ModuleType("triton_python_backend_utils")
    utils.TritonModelException = Refused  # type: ignore[attr-defined]
    for name in ("Tensor", "TritonError", "InferenceResponse", "get_input_tensor_by_name"):
        setattr(utils, name, getattr(Pb, name))
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    name = "serving.triton.backends.openvino.model"
    sys.modules.pop(name, None)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``dynamic.xml`` takes any batch, ``fixed.xml`` is the same with a batch of one: channel means times a matrix."""
    ov = import_openvino()
    ops, weights = ov.opset13, np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    folder = tmp_path_factory.mktemp("ir")
    for name, batch in (("dynamic", -1), ("fixed", 1)):
        pixels = ops.parameter([batch, 16, 16, 3], np.uint8, name="pixels")
        means = ops.reduce_mean(ops.convert(pixels, "f32"), ops.constant(np.array([1, 2])), False)
        logits = ops.matmul(means, ops.constant(weights), False, False)
        pixels.output(0).set_names({"pixels"})
        logits.output(0).set_names({"logits"})
        ov.save_model(ov.Model([logits], [pixels], name), str(folder / f"{name}.xml"), compress_to_fp16=False)
    return folder


@pytest.fixture
def start(backend: ModuleType, files: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Starts an instance: ``start("dynamic.xml", max_batch_size=8, dims=[16, 16, 3], NUM_STREAMS="1")``."""

    def start_instance(
        file: str | Path, dims: list[int], classes: int = 5, max_batch_size: int = 0, **parameters: str
    ) -> Any:
        monkeypatch.setattr(backend, "model_file", lambda: files / file)
        batch = [] if max_batch_size else [-1]
        config = {
            "name": "network",
            "max_batch_size": max_batch_size,
            "input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": dims}],
            "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": [*batch, classes]}],
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }
        model = backend.TritonPythonModel()
        model.initialize({"model_config": json.dumps(config), "model_name": "network"})
        return model

    return start_instance


def ask(model: Any, *batches: np.ndarray) -> list[Any]:
    return model.execute([Request({"pixels": Pb.Tensor("pixels", batch)}) for batch in batches])


def answer(response: Any) -> np.ndarray:
    assert response.error is None, response.error.text
    array: np.ndarray = response.output_tensors[0].array
    return array


def expected(files: Path, pixels: np.ndarray) -> np.ndarray:
    ov = import_openvino()
    return np.array(ov.compile_model(str(files / "dynamic.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)[0])


def test_requests_share_a_batch_as_in_other_backends(start: Backend, files: Path) -> None:
    model = start("dynamic.xml", [16, 16, 3], max_batch_size=8)
    responses = ask(model, PIXELS[:2], PIXELS[2:3], PIXELS[3:8], PIXELS[:8])
    found = [answer(response) for response in responses]
    for array, pixels in zip(found, (PIXELS[:2], PIXELS[2:3], PIXELS[3:8], PIXELS[:8]), strict=True):
        np.testing.assert_allclose(array, expected(files, pixels), rtol=1e-4)


def test_a_batch_that_is_an_axis_has_slipways_limit(start: Backend, files: Path) -> None:
    """What export.triton_config writes: max_batch_size 0, for the native backend's sake."""
    model = start("dynamic.xml", [-1, 16, 16, 3], classes=-1, slipway_max_batch_size="6")
    one, six, seven, none = ask(model, PIXELS[:1], PIXELS[:6], PIXELS[:7], PIXELS[:0])
    np.testing.assert_allclose(answer(one), expected(files, PIXELS[:1]), rtol=1e-4)
    np.testing.assert_allclose(answer(six), expected(files, PIXELS[:6]), rtol=1e-4)
    assert seven.error.text == "REQUEST_INVALID: network: batch sizes [7], expected 1 to 6"
    assert none.error.text == "REQUEST_INVALID: network: an input is empty"


def test_answers_outlive_the_next_request(start: Backend) -> None:
    model = start("dynamic.xml", [16, 16, 3], max_batch_size=8)
    (first,) = ask(model, PIXELS[:1])
    kept = answer(first).copy()
    ask(model, PIXELS[1:2])
    np.testing.assert_array_equal(answer(first), kept)


def test_a_fixed_batch_is_opened_and_layers_are_reshaped(start: Backend, files: Path) -> None:
    (response,) = ask(start("fixed.xml", [16, 16, 3], max_batch_size=8), PIXELS)
    np.testing.assert_allclose(answer(response), expected(files, PIXELS), rtol=1e-4)
    with pytest.raises(Refused, match=r"config.pbtxt says \[-1, 8, 16, 3\]"):
        start("dynamic.xml", [8, 16, 3], max_batch_size=8)
    reshaped = start("dynamic.xml", [8, 16, 3], max_batch_size=8, RESHAPE_IO_LAYERS="yes")
    assert answer(ask(reshaped, PIXELS[:, :8].copy())[0]).shape == (8, 5)
    with pytest.raises(Refused, match="cannot take"):
        start("dynamic.xml", [16, 16, 4], max_batch_size=8, RESHAPE_IO_LAYERS="YES")


@pytest.mark.parametrize(
    ("parameters", "threads", "hint"),
    [
        ({}, 1, "f32"),
        ({"NUM_STREAMS": "2"}, 1, "f32"),
        ({"INFERENCE_NUM_THREADS": "4", "NUM_STREAMS": "2"}, 2, "f32"),
        ({"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "AUTO", "PERFORMANCE_HINT": "latency"}, 2, "f32"),
        ({"HINT_BF16": "YES", "ENABLE_BATCH_PADDING": "YES", "SKIP_OV_DYNAMIC_BATCHSIZE": "YES"}, 1, "bf16"),
    ],
)
def test_the_native_backends_parameters(
    backend: ModuleType, files: Path, parameters: dict[str, str], threads: int, hint: str
) -> None:
    config = backend.Config("network", 0, (), (), parameters)
    options = backend._options(import_openvino().Core().read_model(str(files / "dynamic.xml")), config)
    assert (options["INFERENCE_NUM_THREADS"], options["INFERENCE_PRECISION_HINT"]) == (threads, hint)
    assert options["NUM_STREAMS"] == 1 and options["ENABLE_CPU_PINNING"] is False
    import_openvino().Core().compile_model(str(files / "dynamic.xml"), "CPU", options)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"INFERENCE_NUM_THREADS": "many"}, "INFERENCE_NUM_THREADS is 'many'"),
        ({"NUM_STREAMS": "-1"}, "NUM_STREAMS is '-1'"),
        ({"TARGET_DEVICE": "GPU"}, "TARGET_DEVICE is 'GPU'"),
        ({"CPU_EXTENSION_PATH": "/lib/custom.so"}, "loads no libraries"),
        ({"PERFORMANCE_HINT": "WARP"}, "WARP"),
    ],
)
def test_parameters_that_cannot_be_followed_are_refused(start: Backend, parameters: dict[str, str], text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        start("dynamic.xml", [16, 16, 3], max_batch_size=8, **parameters)
    assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)


def test_a_configuration_that_does_not_fit_is_refused(start: Backend) -> None:
    with pytest.raises(Refused, match="output logits"):
        start("dynamic.xml", [16, 16, 3], classes=6, max_batch_size=8)
    with pytest.raises(Refused, match="input pixels"):
        start("dynamic.xml", [16, 3], max_batch_size=8)


def test_incomplete_weights_are_refused(start: Backend, files: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes((files / "dynamic.xml").read_bytes())
    (tmp_path / "model.bin").write_bytes((files / "dynamic.bin").read_bytes()[:-1])
    with pytest.raises(Refused, match="cannot be opened: Incorrect weights in bin file"):
        start(tmp_path / "model.xml", [16, 16, 3], max_batch_size=8)
