"""Where the network runs changes nothing about the answers: `separate` (BLS) against the pipeline in process."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from serving.client import PredictClient
from serving.ports import free_ports
from tests.e2e.conftest import Product
from tests.e2e.test_digits_served import TOLERANCE, in_process

pytestmark = pytest.mark.e2e


def test_a_separate_network_gives_the_same_answers(product: Product, slipway: Any, tmp_path: Any) -> None:
    http, grpc = free_ports("127.0.0.1", 2)
    env = {
        **product.env,
        "SLIPWAY_STATE_DIR": str(tmp_path / "run"),
        "SLIPWAY_HTTP_PORT": str(http),
        "SLIPWAY_GRPC_PORT": str(grpc),
        "SLIPWAY_NETWORK_PLACEMENT": "separate",
    }
    run = slipway("serve", "--detach", env=env)
    try:
        assert run.returncode == 0, run.stderr
        (model,) = json.loads(slipway("status", "--json", env=env).stdout)["models"]
        assert model["placement"] == "separate"
        images = [path.read_bytes() for path in product.images]
        with PredictClient(f"grpc://127.0.0.1:{grpc}") as client:
            served = [
                item
                for start in range(0, len(images), 8)
                for item in client.predict("digits", images[start : start + 8])
            ]
        for path, answer, local in zip(product.images, served, in_process(product, model["routed"]), strict=True):
            assert answer.labels == local.labels, path.name
            np.testing.assert_allclose(answer.scores, local.scores, atol=TOLERANCE, rtol=0, err_msg=path.name)
    finally:
        assert slipway("down", env=env).returncode == 0
