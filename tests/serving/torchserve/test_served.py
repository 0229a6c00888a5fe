"""Two versions of digits in a real TorchServe: answers, bad images among good ones, what it says of itself."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from serving.client.torchserve import TorchServeGrpc
from serving.client.transport import Ask
from serving.ports import free_ports
from serving.torchserve import readiness
from serving.torchserve.archive import Archives
from serving.torchserve.loader import TorchServeLoader
from serving.torchserve.management import ManagementClient
from slipway import errors
from tests.e2e.hostile import IMAGES, LARGE, MUST_FAIL
from tests.serving.dominant_colour import Recipe, photograph, publish
from tests.serving.torchserve.conftest import Expected, Rig, rig_at

pytestmark = pytest.mark.e2e
CODES = {cls.code for cls in errors.all_errors()} - {"INTERNAL"}


def encoded(images: list[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def test_every_answer_is_the_pipelines_in_both_versions(rig: Rig, held_out: list[bytes], expected: Expected) -> None:
    assert len(held_out) == 100
    for version in (1, 2):
        for image in held_out:
            status, answer, headers = rig.post(f"digits/{version}", image)
            assert (status, answer) == (200, expected(image, version))
            assert (headers["x-slipway-model"], headers["x-slipway-version"]) == ("digits", str(version))
    assert expected(held_out[0], 1) != expected(held_out[0], 2), "the versions must differ for this to say anything"


def test_images_of_one_request_and_of_many_clients(rig: Rig, held_out: list[bytes], expected: Expected) -> None:
    status, answers, _ = rig.post("digits/2", encoded(held_out[:20]), {"Content-Type": "application/json"})
    together = [expected(image, 2) for image in held_out[:20]]
    assert status == 200 and [item["labels"] for item in answers] == [item["labels"] for item in together]
    # another batch size is another order of additions: the last bits may differ
    for one, other in zip(answers, together, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: rig.post("digits/1", image)[:2], held_out))
    assert found == [(200, expected(image, 1)) for image in held_out]


def test_grpc_gives_the_same_answers(rig: Rig, held_out: list[bytes], expected: Expected) -> None:
    client = TorchServeGrpc(f"127.0.0.1:{rig.server.config.ports.grpc}", timeout=60)
    try:
        for image in held_out[:20]:
            assert client.ask(Ask("digits", [image], "2", "id", {})).rows == [expected(image, 2)]
        several = client.ask(Ask("digits", [held_out[0], b"no image", held_out[1]], "1", "id", {"top_k": 1})).rows
        assert isinstance(several[1], errors.ImageFormatUnsupported)
        assert several[0]["labels"] == expected(held_out[0], 1)["labels"][:1]
        with pytest.raises(errors.ImageFormatUnsupported):
            client.ask(Ask("digits", [b"no image"], "1", "id", {}))
    finally:
        client.close()


def test_the_default_version_is_the_one_that_is_routed(rig: Rig, held_out: list[bytes]) -> None:
    for version in (2, 1):
        rig.loader.route("digits", version)
        assert rig.post("digits", held_out[0])[2]["x-slipway-version"] == str(version)


def test_parameters(rig: Rig, held_out: list[bytes], expected: Expected) -> None:
    best = expected(held_out[0], 1)["labels"][:1]
    status, answer, _ = rig.post("digits/1", held_out[0], {"x-slipway-parameters": '{"top_k": "1"}'})
    assert (status, answer["labels"]) == (200, best)
    status, answer, headers = rig.post("digits/1", held_out[0], {"x-slipway-parameters": '{"top_k": "11"}'})
    assert (status, answer["code"], headers["x-slipway-error"]) == (400, "REQUEST_INVALID", "REQUEST_INVALID")
    form = b"--x\r\nContent-Disposition: form-data; name=data; filename=a\r\n\r\n" + held_out[0] + b"\r\n"
    form += b'--x\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n1\r\n--x--\r\n'
    status, answer, _ = rig.post("digits/1", form, {"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, answer["labels"]) == (200, best)


def test_hostile_images_are_refused_with_a_code_and_cost_no_worker(rig: Rig) -> None:
    before = rig.pids("digits", 1)
    assert len(MUST_FAIL) >= 50 and len(IMAGES) >= 70
    for name, data in IMAGES.items():
        status, answer, _ = rig.post("digits/1", data)
        if name in MUST_FAIL or status != 200:
            assert status == 400 and answer["code"] in CODES, f"{name}: {status} {answer}"
            assert "Traceback" not in json.dumps(answer)
    assert rig.pids("digits", 1) == before


def test_memory_comes_back(rig: Rig) -> None:
    def attack() -> int:
        for data in IMAGES.values():
            rig.post("digits/1", data)
        return sum(item.memory_full_info().uss for item in rig.processes()[1:])

    # one of two workers meets each image in a pass: both are warm after a few
    first = max(attack(), attack(), attack())
    last = max(attack(), attack())
    assert last <= first * 1.1, f"workers had {first >> 20} MB after three passes, {last >> 20} MB after five"


def test_among_others_a_hostile_image_fails_alone(rig: Rig, held_out: list[bytes], expected: Expected) -> None:
    good = [expected(image, 1)["labels"] for image in held_out[:3]]
    for name in MUST_FAIL:
        if name == LARGE:
            continue
        status, answers, _ = rig.post("digits/1", encoded([held_out[0], IMAGES[name], *held_out[1:3]]))
        assert status == 200 and answers[1]["code"] in CODES, name
        assert [answers[index]["labels"] for index in (0, 2, 3)] == good, name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"images": []}',
        b'{"images": [1]}',
        b'{"images": "x"}',
        b'{"image": "%%"}',
        b'{"inputs": [{"name": "image"}]}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"image": "\xff\xfe"}',
        b'{"images": ["' + b'","' * 40 + b'"]}',
        b'{"image": "' + b"A" * 27_000_000 + b'"}',
    ],
)
def test_hostile_json_is_refused_with_a_code(rig: Rig, body: bytes) -> None:
    before = rig.pids("digits", 1)
    status, answer, _ = rig.post("digits/1", body, {"Content-Type": "application/json"})
    assert status == 400 and answer["code"] in CODES, answer
    assert rig.pids("digits", 1) == before


def test_a_body_above_the_limit_is_refused_by_java(rig: Rig) -> None:
    ports, limit = rig.server.config.ports, rig.server.config.max_request_bytes
    connection = http.client.HTTPConnection("127.0.0.1", ports.http, timeout=60)
    connection.putrequest("POST", "/predictions/digits/1")
    connection.putheader("Content-Length", str(limit + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413, "by its header, before it is sent"
    connection.close()
    assert rig.post("digits/1", b"")[0] == 400


def test_one_bad_request_of_a_batch_fails_alone(tmp_path: Path) -> None:
    """A model whose config asks for a delay: TorchServe gives one worker the requests of several clients at once."""
    rig = rig_at(tmp_path, tmp_path / "repository")
    publish(rig.repository, tmp_path / "made", Recipe(model="colour", instances=1))
    config = tmp_path / "repository" / "colour" / "config.pbtxt"
    text = config.read_text().replace(
        "dynamic_batching {\n}", "dynamic_batching { max_queue_delay_microseconds: 200000 }"
    )
    config.chmod(0o644)
    config.write_text(text)
    try:
        rig.start()
        assert rig.loader.apply("colour", [1]) == {}
        images = [photograph()] * 3 + [b"no image"] + [photograph("chelsea.png")] * 4
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                found = list(pool.map(lambda image: rig.post("colour/1", image), images))
                assert [status for status, _, _ in found] == [200] * 3 + [400] + [200] * 4
                assert found[0][1] == found[1][1] != found[5][1] == found[7][1]
                assert found[3][1]["code"] == "IMAGE_FORMAT_UNSUPPORTED"
    finally:
        rig.server.stop(grace=20)


def test_every_format_that_opens_in_a_process_is_served(tmp_path: Path, digits: Path, held_out: list[bytes]) -> None:
    rig = rig_at(tmp_path, digits)
    contract = rig.repository.contract("digits", 1)
    files = {
        "onnx": digits / "digits.onnx/1/model.onnx",
        "torchscript": digits / "digits.torchscript/1/model.pt",
        "torch-export": digits / "digits/1/artifacts/torch-export/model.pt2",
    }
    try:
        rig.start()
        for name, file in files.items():
            archives = Archives(rig.repository, rig.server.config.store, cores=1, formats={"digits": name})
            loader = TorchServeLoader(rig.server.client, archives, rig.server.log, 120, rig.server.reason)
            assert loader.apply("digits", [1]) == {}
            pipeline = Pipeline(contract, open_networks({"network": file}, contract))
            for image in held_out[:10]:
                record = pipeline.run([image])[0].record()
                same = {"labels": list(record["labels"]), "scores": record["scores"].tolist()}
                assert rig.post("digits/1", image)[:2] == (200, same), name
            readiness.check_version(rig.server.client, rig.repository, "digits", 1, 20)
            loader.unload("digits")
    finally:
        rig.server.stop(grace=20)


def test_every_version_is_asked_for_its_golden_answer(rig: Rig) -> None:
    for version in (1, 2):
        readiness.check_version(rig.server.client, rig.repository, "digits", version, 20)
    nobody = ("127.0.0.1", free_ports("127.0.0.1", 1)[0])
    with pytest.raises(errors.ServerUnavailable):
        readiness.check_version(ManagementClient(nobody, nobody), rig.repository, "digits", 2, 20)


def test_a_refused_and_a_wrong_version_leave_the_good_one(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, tmp_path / "repository")
    for name, recipe in {"good": Recipe(), "broken": Recipe(broken=True), "wrong": Recipe(wrong=True)}.items():
        publish(rig.repository, tmp_path / name, recipe)
    try:
        rig.start()
        failed = rig.loader.apply("colour", [1, 2, 3])
        assert list(failed) == [2] and "NETWORK_UNREADABLE" in str(failed[2]), failed
        assert rig.loader.is_current("colour", [1, 3]) and not rig.loader.is_current("colour", [1, 2, 3])
        readiness.check_version(rig.server.client, rig.repository, "colour", 1, 20)
        with pytest.raises(errors.VersionLoadFailed, match="golden"):
            readiness.check_version(rig.server.client, rig.repository, "colour", 3, 20)
        assert [found.version for found in rig.server.client.describe("colour")] == [1, 3]
        rig.loader.unload("colour")
        assert rig.server.client.models() == [] and rig.loader.models == []
    finally:
        rig.server.stop(grace=20)


def test_queues_and_metrics_are_exported(rig: Rig, held_out: list[bytes]) -> None:
    rig.post("digits/1", held_out[0])
    ports = rig.server.config.ports
    queues = urllib.request.urlopen(f"http://127.0.0.1:{ports.queue}/metrics", timeout=10).read().decode()
    for version in (1, 2):
        assert f'slipway_torchserve_queue_pending{{model_name="digits",model_version="{version}"}} 0' in queues
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=10).read().decode()
    assert 'ts_inference_requests_total{model_name="digits",model_version="1"' in metrics


def test_workers_see_no_secret_and_log_no_request(rig: Rig, held_out: list[bytes]) -> None:
    for pid in rig.pids("digits", 1):
        names = {item.split(b"=")[0] for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if item}
        assert b"PYTHONPATH" in names and not names & {b"PYTEST_CURRENT_TEST", b"SLIPWAY_ROOT"}
    log = rig.settings.state_dir / "logs" / "torchserve.jsonl"
    before = log.stat().st_size
    for image in held_out[:20]:
        rig.post("digits/1", image)
    assert log.stat().st_size - before < 500, log.read_text()[before:]
