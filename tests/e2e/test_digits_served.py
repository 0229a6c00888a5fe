"""Served answers are the pipeline's answers; versions, rollback and the command line work on the running server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from handlers.networks import open_network
from handlers.pipeline import Pipeline
from tests.e2e.conftest import Product

pytestmark = pytest.mark.e2e
TOLERANCE = 1e-4


def in_process(product: Product, version: int) -> list[Any]:
    contract = product.repository.contract("digits", version)
    path = product.repository.path / contract.network.model / str(version) / contract.network.file
    pipeline = Pipeline(contract, open_network(path, contract.network.output))
    return pipeline.run([path.read_bytes() for path in product.images])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_every_held_out_digit_is_answered_as_in_process(product: Product, transport: str, version: int) -> None:
    expected = in_process(product, version)
    assert len(expected) >= 450
    with product.client(transport) as client:
        answers = [
            prediction
            for start in range(0, len(product.images), 8)
            for prediction in client.predict(
                "digits", [path.read_bytes() for path in product.images[start : start + 8]], version=version
            )
        ]
    for path, served, local in zip(product.images, answers, expected, strict=True):
        assert served.labels == local.labels, path.name
        np.testing.assert_allclose(served.scores, local.scores, atol=TOLERANCE, rtol=0, err_msg=path.name)
    right = sum(
        path.name.split("_")[0] == served.labels[0] for path, served in zip(product.images, answers, strict=True)
    )
    assert right / len(answers) >= 0.98


def infer(product: Product, transport: str, version: str = "") -> str:
    module, edge = (triton_http, "http") if transport == "http" else (triton_grpc, "grpc")
    client = module.InferenceServerClient(product.state.edge[edge])
    tensor = module.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[product.images[0].read_bytes()]], dtype=object))
    response = client.infer("digits", [tensor], model_version=version).get_response()
    client.close()
    return response["model_version"] if transport == "http" else response.model_version


def test_unmodified_clients_reach_versions_and_the_pointer(product: Product, slipway: Any) -> None:
    for transport in ("http", "grpc"):
        assert infer(product, transport) == "2"
        assert [infer(product, transport, version) for version in ("1", "2")] == ["1", "2"]
    started = time.monotonic()
    run = slipway("rollback", "digits", env=product.env)
    assert run.returncode == 0, run.stderr
    assert [infer(product, transport) for transport in ("http", "grpc")] == ["1", "1"]
    assert time.monotonic() - started < 10
    assert slipway("promote", "digits", "2", env=product.env).returncode == 0
    assert [infer(product, transport) for transport in ("http", "grpc")] == ["2", "2"]


def test_the_network_alone_takes_uint8_pixels(product: Product) -> None:
    client = triton_grpc.InferenceServerClient(product.state.edge["grpc"])
    tensor = triton_grpc.InferInput("pixels", [2, 32, 32, 3], "UINT8")
    tensor.set_data_from_numpy(np.full((2, 32, 32, 3), 7, dtype=np.uint8))
    answer = client.infer("digits.onnx", [tensor])
    assert answer.as_numpy("logits").shape == (2, 10)
    assert answer.get_response().model_version == "2"
    client.close()


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_predict_from_the_command_line(product: Product, slipway: Any, tmp_path: Path, transport: str) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    run = slipway(
        "predict", "digits", product.images[0], bad, "--url", product.address(transport), "--top-k", 2, "--json",
        "--request-id", f"cli-{transport}", env=product.env,
    )  # fmt: skip
    assert run.returncode == 3
    answer = json.loads(run.stdout)
    good, refused = answer["results"]
    assert answer["version"] == "2"
    assert good["labels"][0] == product.images[0].name.split("_")[0]
    assert len(good["labels"]) == len(good["scores"]) == 2
    assert refused["error"]["code"] == "IMAGE_FORMAT_UNSUPPORTED"
    only_bad = slipway("predict", "digits", bad, "--url", product.address(transport), env=product.env)
    assert only_bad.returncode == 3
    assert "IMAGE_FORMAT_UNSUPPORTED" in only_bad.stderr


def test_a_request_id_is_found_in_the_logs(product: Product, slipway: Any) -> None:
    slipway("predict", "digits", product.images[0], "--request-id", "findme-7", env=product.env)
    deadline = time.monotonic() + 10
    while "findme-7" not in (log := slipway("logs", "--lines", 200, env=product.env).stdout):
        assert time.monotonic() < deadline, log[-2000:]
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line.get("request_id") == "findme-7" for line in lines)


def test_status_and_a_second_deploy_changes_nothing(product: Product, slipway: Any) -> None:
    status = json.loads(slipway("status", "--json", env=product.env).stdout)
    assert set(status["edge"]) >= {"http", "grpc"}
    (digits,) = [model for model in status["models"] if model["name"] == "digits"]
    assert digits["routed"] == 2
    pid = product.state.pid
    started = time.monotonic()
    run = slipway("deploy", "digits", env=product.env)
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - started < 30
    assert product.repository.versions("digits") == [1, 2]
    assert product.state.pid == pid
    assert "unchanged" in run.stdout


def test_verify_and_lint(product: Product, slipway: Any) -> None:
    assert slipway("versions", "--verify", env=product.env).returncode == 0
    run = slipway("lint", env=product.env)
    assert run.returncode == 0, run.stdout
