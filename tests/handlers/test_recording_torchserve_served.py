"""The real TorchServe, without an edge: what its frontend hands to a worker is enough for notes, over HTTP and gRPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.client.torchserve_proto import PREDICTIONS, messages
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, photograph, publish
from tests.serving.edge.edge_rig import wait
from tests.serving.torchserve.conftest import Rig, rig_at

pytestmark = pytest.mark.e2e
COFFEE = photograph("coffee.png")


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded") / "predictions"


@pytest.fixture(scope="module")
def served(predictions: Path) -> Iterator[Rig]:
    folder = predictions.parent
    publish(Repository(folder / "repository"), folder / "scratch", Recipe(instances=1))
    made = rig_at(folder, folder / "repository")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLIPWAY_PREDICTIONS", str(predictions))
            made.start()
        assert made.loader.apply("colour", [1]) == {}
        yield made
    finally:
        made.server.stop(grace=10)


def notes(predictions: Path, count: int) -> list[dict[str, Any]]:
    def lines() -> list[str]:
        return [line for path in predictions.glob("*.jsonl") for line in path.read_text().splitlines()]

    wait(lambda: len(lines()) >= count, 10, f"{count} notes")
    return [json.loads(line) for line in lines()]


def by_grpc(rig: Rig, image: bytes, **marks: bytes) -> None:
    request, response = messages()
    inputs = {"data": image, **{name.replace("_", "-"): value for name, value in marks.items()}}
    with grpc.insecure_channel(f"127.0.0.1:{rig.server.config.ports.grpc}") as channel:
        call = channel.unary_unary(PREDICTIONS, request.SerializeToString, response.FromString)
        metadata = (("x-slipway-record", "image"), ("x-request-id", "metadata"))
        call(request(model_name="colour", model_version="1", input=inputs), timeout=60, metadata=metadata)


def test_both_transports_are_noted(served: Rig, predictions: Path) -> None:
    status, answer, _ = served.post("colour/1", COFFEE, {"X-Request-Id": "by-http", "X-Slipway-Record": "1"})
    assert status == 200
    form = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [form % (b"x-slipway-record", b"", b"image"), form % (b"data", b'; filename="a"', COFFEE), b"--b--\r\n"]
    headers = {"X-Request-Id": "form", "Content-Type": "multipart/form-data; boundary=b"}
    assert served.post("colour/1", b"".join(parts), headers)[0] == 200
    by_grpc(served, COFFEE)
    by_grpc(served, COFFEE, x_slipway_record=b"1", x_request_id=b"by-grpc")
    found = {row["request_id"]: row for row in notes(predictions, 2)}
    assert found.keys() == {"by-http", "by-grpc"}, "no form field and no metadata asks for anything"
    assert found["by-grpc"]["summary"] == found["by-http"]["summary"]
    assert found["by-http"]["summary"]["label"] == answer["labels"][0]
    assert (found["by-grpc"]["model"], found["by-grpc"]["version"]) == ("colour", 1)
    assert not (predictions / "images").exists()
