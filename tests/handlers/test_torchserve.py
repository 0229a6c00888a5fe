"""The TorchServe adapter, called as a worker calls it: with TorchServe's own context, without a server."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from handlers.networks import open_network
from handlers.pipeline import Pipeline
from handlers.torchserve import NETWORKS_FILE, TorchServeModel
from slipway.contract import Contract
from slipway.errors import ContractInvalid, NetworkFailed, NetworkUnreadable
from tests.handlers.pictures import read

pytest.importorskip("ts", reason="TorchServe is not installed here")
pytest.importorskip("onnxruntime")

from ts.context import Context, RequestProcessor
from ts.utils.util import list_classes_from_module

COFFEE, ASTRONAUT = read("coffee.png"), read("astronaut.png")


@pytest.fixture
def folder(tmp_path: Path, contract: Contract, onnx_file: Path) -> Path:
    """What lies in an unpacked archive."""
    (tmp_path / "contract.json").write_text(contract.to_json())
    (tmp_path / NETWORKS_FILE).write_text(json.dumps({"network": "networks/tiny.onnx/model.onnx"}))
    (tmp_path / "networks" / "tiny.onnx").mkdir(parents=True)
    (tmp_path / "networks" / "tiny.onnx" / "model.onnx").write_bytes(onnx_file.read_bytes())
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "input.png").write_bytes(read("cell.png"))
    return tmp_path


def context(folder: Path, config: dict[str, Any] | None = None) -> Context:
    manifest = {"model": {"modelVersion": "3", "handler": "slipway_handler.py"}}
    return Context("tiny", str(folder), manifest, 1, None, "0.12.0", model_yaml_config=config or {})


class Worker:
    """One worker: rows and headers go in as TorchServe hands them over, statuses and bodies come out."""

    def __init__(self, folder: Path, config: dict[str, Any] | None = None) -> None:
        self.context = context(folder, config)
        self.model = TorchServeModel()
        self.model.initialize(self.context)

    def ask(self, *rows: dict[str, Any], headers: dict[str, Any] | None = None) -> list[tuple[int, Any]]:
        self.context.request_processor = [RequestProcessor(dict(headers or {})) for _ in rows]
        self.context.request_ids = {index: f"id-{index}" for index in range(len(rows))}
        bodies = self.model.handle(list(rows), self.context)
        statuses = [self.context.get_response_status(index)[0] for index in range(len(rows))]
        return list(zip(statuses, map(json.loads, bodies), strict=True))


@pytest.fixture
def worker(folder: Path) -> Worker:
    return Worker(folder)


@pytest.fixture
def pipeline(contract: Contract, onnx_file: Path) -> Pipeline:
    return Pipeline(contract, open_network(onnx_file))


def plain(pipeline: Pipeline, image: bytes, **parameters: Any) -> dict[str, Any]:
    record = pipeline.run([image], parameters)[0].record()
    return {"labels": list(record["labels"]), "scores": record["scores"].tolist()}


def test_a_raw_image_is_answered_as_in_process(worker: Worker, pipeline: Pipeline) -> None:
    for name in ("body", "data", "image"):
        assert worker.ask({name: bytearray(COFFEE)}) == [(200, plain(pipeline, COFFEE))]
    headers = worker.context.get_response_headers(0)
    assert headers["x-slipway-model"] == "tiny" and headers["x-slipway-version"] == "3"
    assert worker.context.get_response_content_type(0) == "application/json"


def test_requests_of_one_batch_get_their_own(worker: Worker, pipeline: Pipeline) -> None:
    several = json.dumps({"images": [base64.b64encode(item).decode() for item in (ASTRONAUT, b"x", COFFEE)]}).encode()
    found = worker.ask({"body": COFFEE, "top_k": b"1"}, {"body": b"junk"}, {"body": several}, {"body": ASTRONAUT}, {})
    assert [status for status, _ in found] == [200, 400, 200, 200, 400]
    assert found[0][1] == plain(pipeline, COFFEE, top_k=1)
    assert found[1][1]["code"] == "IMAGE_FORMAT_UNSUPPORTED"
    first, second, third = found[2][1]
    assert (first, third) == (plain(pipeline, ASTRONAUT), plain(pipeline, COFFEE))
    assert second["code"] == "IMAGE_FORMAT_UNSUPPORTED" and second["error"].startswith(second["code"])
    assert found[3][1] == plain(pipeline, ASTRONAUT)
    assert found[4][1]["code"] == "REQUEST_INVALID"
    assert worker.context.get_response_headers(1)["x-slipway-error"] == "IMAGE_FORMAT_UNSUPPORTED"
    assert "x-slipway-error" not in worker.context.get_response_headers(0)


def test_a_worker_says_which_it_is_and_no_image_is_taken_for_that_question(worker: Worker, pipeline: Pipeline) -> None:
    asked = {"describe": "True"}
    assert worker.ask({}, headers=asked) == [(200, {"model": "tiny", "version": "3", "worker": os.getpid()})]
    assert worker.ask({"body": COFFEE}, headers=asked) == [(200, plain(pipeline, COFFEE))]
    assert [status for status, _ in worker.ask({}, {}, headers=asked)] == [400, 400]


def test_parameters_come_from_header_form_and_body(worker: Worker, pipeline: Pipeline) -> None:
    header = {"X-Slipway-Parameters": '{"top_k": "2"}'}
    assert worker.ask({"body": COFFEE}, headers=header) == [(200, plain(pipeline, COFFEE, top_k=2))]
    assert worker.ask({"data": COFFEE, "top_k": b"1"}, headers=header) == [(200, plain(pipeline, COFFEE, top_k=1))]
    body = json.dumps({"image": base64.b64encode(COFFEE).decode(), "parameters": {"top_k": 4}}).encode()
    assert worker.ask({"body": body, "top_k": b"1"}, headers=header) == [(200, plain(pipeline, COFFEE, top_k=4))]


@pytest.mark.parametrize("value", ['{"top_k": "0"}', '{"top_k": 99}', "[1]", "{", "\x00"])
def test_bad_parameters_are_refused(worker: Worker, value: str) -> None:
    ((status, answer),) = worker.ask({"body": COFFEE}, headers={"x-slipway-parameters": value})
    assert status == 400 and answer["code"] in ("REQUEST_INVALID", "REQUEST_MALFORMED")


def test_headers_that_are_named_like_bodies_do_no_harm(worker: Worker, pipeline: Pipeline) -> None:
    headers = {"body": "application/json", "data": "x", "content-type": "image/png"}
    assert worker.ask({"body": COFFEE}, headers=headers) == [(200, plain(pipeline, COFFEE))]
    odd = {"body": {"content-type": "application/json"}}
    ((status, answer),) = worker.ask({"body": COFFEE}, headers=odd)
    assert (status, answer["code"]) == (400, "REQUEST_MALFORMED")


def test_the_number_of_images_is_limited(folder: Path) -> None:
    worker = Worker(folder, {"handler": {"max_images": 2}})
    text = base64.b64encode(COFFEE).decode()
    assert worker.ask({"body": json.dumps({"images": [text] * 2}).encode()})[0][0] == 200
    ((status, answer),) = worker.ask({"body": json.dumps({"images": [text] * 3}).encode()})
    assert (status, answer["code"]) == (400, "REQUEST_INVALID")


def test_images_that_all_fail_are_the_first_ones_error(worker: Worker) -> None:
    ((status, answer),) = worker.ask({"body": json.dumps({"images": ["", "%"]}).encode()})
    assert (status, answer["code"]) == (400, "IMAGE_EMPTY")


def test_a_network_that_fails_is_paid_for_by_its_own_request(worker: Worker, pipeline: Pipeline) -> None:
    run = worker.model._pipeline.run

    def fails_on_astronaut(images: list[bytes], options: Any) -> Any:
        if ASTRONAUT in images:
            raise NetworkFailed("the network overflowed")
        return run(images, options)

    worker.model._pipeline.run = fails_on_astronaut  # type: ignore[method-assign]
    found = worker.ask({"body": COFFEE}, {"body": ASTRONAUT})
    assert found[0] == (200, plain(pipeline, COFFEE))
    assert found[1][0] == 500 and found[1][1]["code"] == "NETWORK_FAILED"


def test_a_bug_is_answered_without_its_traceback(worker: Worker) -> None:
    def defect(images: list[bytes], options: Any) -> Any:
        raise RuntimeError("secret detail")

    worker.model._pipeline.run = defect  # type: ignore[method-assign]
    ((status, answer),) = worker.ask({"body": COFFEE})
    assert status == 500 and answer["code"] == "INTERNAL" and "secret" not in json.dumps(answer)


def test_a_bug_is_paid_for_by_its_own_request(worker: Worker, pipeline: Pipeline) -> None:
    run = worker.model._pipeline.run

    def no_room_for_astronaut(images: list[bytes], options: Any) -> Any:
        if ASTRONAUT in images:
            raise MemoryError
        return run(images, options)

    worker.model._pipeline.run = no_room_for_astronaut  # type: ignore[method-assign]
    found = worker.ask({"body": COFFEE}, {"body": ASTRONAUT}, {"body": COFFEE})
    assert found[0] == found[2] == (200, plain(pipeline, COFFEE))
    assert found[1][0] == 500 and found[1][1]["code"] == "INTERNAL"


def test_what_is_missing_is_said_at_the_start(folder: Path) -> None:
    (folder / "networks" / "tiny.onnx" / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(NetworkUnreadable):
        Worker(folder)
    (folder / NETWORKS_FILE).write_text('{"another": "model.onnx"}')
    with pytest.raises(ContractInvalid):
        Worker(folder)
    (folder / NETWORKS_FILE).write_text("[]")
    with pytest.raises(ContractInvalid):
        Worker(folder)


def test_an_archives_handler_is_the_one_class_of_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.torchserve.archive import _HANDLER_TEXT

    (tmp_path / "one_class_only.py").write_text(_HANDLER_TEXT)
    monkeypatch.syspath_prepend(str(tmp_path))
    module: ModuleType = __import__("one_class_only")
    try:
        (found,) = list_classes_from_module(module)
        assert issubclass(found, TorchServeModel)
    finally:
        del sys.modules["one_class_only"]
