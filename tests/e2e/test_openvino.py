"""The best CPU format through the whole product: exported with its gates, published, and served in both placements."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from handlers.networks.openvino import import_openvino, precision_hint
from handlers.preprocess import preprocess
from serving.client import PredictClient
from serving.ports import free_ports
from slipway.settings import Settings
from tests.e2e.conftest import ROOT, Product
from tests.e2e.test_digits_served import TOLERANCE, in_process

pytestmark = pytest.mark.e2e
NETWORKS = ("onnx", "openvino", "openvino-int8")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, slipway: Any) -> dict[str, str]:
    """The environment of a repository that holds one version of digits, its OpenVINO INT8 network being the one that
    answers; the others are loaded for direct calls."""
    folder = tmp_path_factory.mktemp("openvino")
    env = {
        "SLIPWAY_ROOT": str(ROOT),
        "SLIPWAY_REPOSITORY": str(folder / "model_repository"),
        "SLIPWAY_STATE_DIR": str(folder / "run"),
    }
    assert slipway("samples", "digits", env=env, timeout=300).returncode == 0
    names = f"[{', '.join(NETWORKS)}]"
    changes = [f"formats={names}", "serve=openvino-int8", f"serving.networks={names}"]
    run = slipway("export", "digits", *(part for change in changes for part in ("--set", change)), env=env, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return env


@pytest.fixture(params=["fused", "separate"])
def served(request: pytest.FixtureRequest, published: dict[str, str], slipway: Any) -> Iterator[Product]:
    http, grpc = free_ports("127.0.0.1", 2)
    env = {
        **published,
        "SLIPWAY_HTTP_PORT": str(http),
        "SLIPWAY_GRPC_PORT": str(grpc),
        "SLIPWAY_NETWORK_PLACEMENT": request.param,
    }
    run = slipway("serve", "--detach", env=env)
    try:
        assert run.returncode == 0, run.stderr
        (model,) = json.loads(slipway("status", "--json", env=env).stdout)["models"]
        assert model["placement"] == request.param
        images = sorted((ROOT / "var/samples/digits/test").iterdir())
        yield Product(Settings.load({**os.environ, **env}), env, images)
    finally:
        assert slipway("down", env=env).returncode == 0


def test_int8_answers_as_in_process_and_networks_answer_as_each_other(served: Product) -> None:
    images = [path.read_bytes() for path in served.images]
    with PredictClient(served.address("grpc")) as client:
        answers = [
            item for start in range(0, len(images), 8) for item in client.predict("digits", images[start : start + 8])
        ]
    for path, answer, local in zip(served.images, answers, in_process(served, 1), strict=True):
        assert answer.labels == local.labels, path.name
        np.testing.assert_allclose(answer.scores, local.scores, atol=TOLERANCE, rtol=0, err_msg=path.name)
    right = sum(
        path.name.split("_")[0] == answer.labels[0] for path, answer in zip(served.images, answers, strict=True)
    )
    assert right / len(answers) >= 0.98
    _check_networks(served)


def _check_networks(served: Product) -> None:
    """Direct calls: fp32 by OpenVINO is ONNX Runtime's, INT8 is near it; more than the largest batch is refused."""
    contract = served.repository.contract("digits", 1)
    pixels = np.stack([preprocess(path.read_bytes(), contract.preprocess) for path in served.images[:9]])
    client = triton_grpc.InferenceServerClient(served.state.edge["grpc"])
    logits = {name: _logits(client, f"digits.{name}", pixels[:8]) for name in NETWORKS}
    np.testing.assert_allclose(logits["openvino"], logits["onnx"], atol=1e-4, rtol=1e-4)
    error = logits["openvino-int8"] - logits["onnx"]
    assert np.abs(error).max() > 0
    assert 10 * np.log10((logits["onnx"] ** 2).sum() / (error**2).sum()) > 20
    for name in ("openvino", "openvino-int8"):
        with pytest.raises(Exception, match="REQUEST_INVALID"):
            _logits(client, f"digits.{name}", pixels)
    client.close()


def _logits(client: Any, model: str, pixels: np.ndarray) -> np.ndarray:
    tensor = triton_grpc.InferInput("pixels", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    array: np.ndarray = client.infer(model, [tensor]).as_numpy("logits")
    return array


def test_the_published_network_is_a_pair_of_files_with_its_precision(published: dict[str, str]) -> None:
    repository = Path(published["SLIPWAY_REPOSITORY"])
    for name in ("openvino", "openvino-int8"):
        folder = repository / f"digits.{name}" / "1"
        assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.xml"]
        assert precision_hint(import_openvino().Core().read_model(str(folder / "model.xml"))) == "f32"
    manifest = json.loads((repository / "digits" / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert {"digits.openvino-int8/1/model.xml", "digits.openvino-int8/1/model.bin"} <= manifest["files"].keys()
