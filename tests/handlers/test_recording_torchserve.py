"""Notes through the TorchServe adapter: images by their places in the request, and what the edge says over gRPC."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.recording import VARIABLE
from handlers.recording.images import image_name
from slipway.contract import Contract
from tests.handlers import test_torchserve as adapter

folder = adapter.folder
COFFEE, ASTRONAUT = adapter.COFFEE, adapter.ASTRONAUT


class Noted:
    """A worker, and the notes of what it was asked, by request id and index."""

    def __init__(self, folder: Path, predictions: Path) -> None:
        self.worker, self.predictions = adapter.Worker(folder), predictions

    def ask(self, *rows: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {name: {"content-type": ""} for row in rows for name in row}  # as TorchServe mixes them
        self.worker.ask(*rows, headers={**fields, **own})
        recorder = self.worker.model._recorder
        assert recorder is not None and recorder._writer.flush()
        return [json.loads(line) for path in self.predictions.glob("*.jsonl") for line in path.open()]


@pytest.fixture
def noted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "predictions"))
    made = Noted(folder, tmp_path / "predictions")
    yield made
    recorder = made.worker.model._recorder
    assert recorder is not None
    recorder.close()


def text(*images: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def test_places_are_those_of_the_request(noted: Noted, contract: Contract) -> None:
    body = text(ASTRONAUT, b"x", COFFEE)[:-2] + b', "%"]}'
    rows = noted.ask({"body": body}, host="edge", X_Request_Id="several", X_Slipway_Record="image")
    assert [(row["index"], row["code"]) for row in rows] == [
        (0, None),
        (1, "IMAGE_FORMAT_UNSUPPORTED"),
        (2, None),
        (3, "IMAGE_CORRUPT"),
    ]
    assert {row["version"] for row in rows} == {3} and {row["model"] for row in rows} == {contract.model}
    assert rows[0]["summary"]["label"] in contract.labels and rows[3]["summary"] is None
    kept = noted.predictions / "images"
    assert (kept / image_name("several", 2)).read_bytes() == COFFEE
    assert {path.name for path in kept.iterdir()} == {image_name("several", index) for index in range(3)}


def test_a_request_that_is_refused_is_one_note(noted: Noted) -> None:
    rows = noted.ask({"body": b"{"}, host="edge", x_request_id="a", x_slipway_record="1")
    rows = noted.ask({"body": COFFEE, "top_k": b"99"}, host="edge", x_request_id="b", x_slipway_record="1")
    assert [(row["request_id"], row["index"], row["code"]) for row in rows] == [
        ("a", 0, "REQUEST_MALFORMED"),
        ("b", 0, "REQUEST_INVALID"),
    ]


def test_over_grpc_the_edge_speaks_among_the_inputs(noted: Noted) -> None:
    marks = {"x-request-id": bytearray(b"by-grpc"), "x-slipway-record": bytearray(b"1")}
    (row,) = noted.ask({"data": bytearray(COFFEE), "top_k": b"1", **marks})
    assert row["request_id"] == "by-grpc" and len(row["summary"]["top"]) == 1
    silent = {"x-request-id": bytearray(b"silent"), "x-slipway-record": bytearray(b"")}
    assert len(noted.ask({"data": bytearray(COFFEE), **silent})) == 1


def test_form_fields_of_a_client_ask_for_nothing(noted: Noted) -> None:
    field = {"data": COFFEE, "x-slipway-record": b"image", "x-request-id": b"other"}
    assert noted.ask(field, Host="edge", x_request_id="form") == []
    (row,) = noted.ask(field, Host="edge", x_request_id="form", x_slipway_record="1")
    assert row["request_id"] == "form" and not (noted.predictions / "images").exists()
