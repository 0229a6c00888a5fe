"""The supervisor with a real Triton and a real Envoy: answers, heals, takes new versions, refuses bad ones, stops."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from handlers.pipeline import Pipeline
from serving import control
from serving.state import State
from serving.supervisor.stubs import list_stubs
from serving.triton import shared_memory
from serving.triton.client import ControlClient
from slipway.errors import (
    ImageEmpty,
    ModelNotFound,
    PortUnavailable,
    ServerAlreadyRunning,
    ServerNotRunning,
    SlipwayError,
    VersionLoadFailed,
)
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.served import ROOT, Load, Served, access_log, answers, gone, ready_versions
from tests.serving.dominant_colour import Recipe, contract, logits, photograph, publish

pytestmark = pytest.mark.e2e

PHOTOGRAPHS = ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    settings = Settings(root=root, triton_env=ROOT / ".venv-triton", start_seconds=60)
    serving = Served(settings, Repository(settings.repository), root / "scratch")
    settings.repository.mkdir()
    serving.publish(model="colour", gain=4.0, instances=2)
    serving.publish(model="tint", gain=4.0, instances=1, placement="separate", served="torchscript")
    started = time.monotonic()
    control.start_detached(settings)
    serving.report["start"] = time.monotonic() - started
    yield serving
    control.stop(settings)
    print("\n" + "  ".join(f"{name}: {seconds:.2f} s" for name, seconds in serving.report.items()))


def expected(gain: float, image: bytes) -> tuple[str, float]:
    result = Pipeline(contract("colour"), lambda pixels: logits(pixels, gain)).run([image])[0]
    return result.labels[0], float(result.scores[0])


def stubs(served: Served, model: str) -> list:
    return [stub for stub in list_stubs(served.state.engine["pid"], served.settings.repository) if stub.model == model]


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("model", ["colour", "tint"])
def test_answers_equal_the_pipeline_in_process(served: Served, transport: str, model: str) -> None:
    images = [photograph(name) for name in PHOTOGRAPHS]
    with served.client(transport) as client:
        for image, found in zip(images, client.predict(model, images), strict=True):
            label, score = expected(4.0, image)
            assert found.labels[0] == label
            assert found.scores[0] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_one_bad_image_does_not_fail_the_others(served: Served, transport: str) -> None:
    with served.client(transport) as client:
        good, bad = client.predict("colour", [photograph(), b""])
        assert good.labels and good.error is None
        assert isinstance(bad.error, ImageEmpty) and bad.labels == ()
        with pytest.raises(ImageEmpty):
            client.predict("colour", [b""])


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_unknown_model_is_named_so(served: Served, transport: str) -> None:
    with served.client(transport) as client, pytest.raises(SlipwayError) as raised:
        client.predict("nothing", [photograph()])
    assert isinstance(raised.value, ModelNotFound), raised.value


def test_top_k_is_a_request_parameter(served: Served) -> None:
    with served.client() as client:
        assert len(client.predict("colour", [photograph()], top_k=1)[0].labels) == 1


@pytest.mark.parametrize("network", ["colour.onnx", "tint.torchscript"])
def test_networks_answer_batches_and_single_images_alike(served: Served, network: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    client = triton_grpc.InferenceServerClient(served.state.edge["grpc"])
    answers = [client.infer(network, [_pixels(part)]).as_numpy("logits") for part in (pixels, pixels[:1])]
    np.testing.assert_allclose(answers[0], logits(pixels, 4.0), rtol=1e-5)
    np.testing.assert_allclose(answers[1], logits(pixels[:1], 4.0), rtol=1e-5)
    client.close()


def _pixels(array: np.ndarray) -> triton_grpc.InferInput:
    tensor = triton_grpc.InferInput("pixels", list(array.shape), "UINT8")
    tensor.set_data_from_numpy(array)
    return tensor


def test_triton_keeps_its_own_apis_closed_and_to_itself(served: Served) -> None:
    address = served.state.engine["grpc"]
    assert address.startswith("127.0.0.1:")
    client = triton_grpc.InferenceServerClient(address)
    with pytest.raises(triton_grpc.InferenceServerException):
        client.unload_model("colour")
    client.close()
    with ControlClient(address, served.state.engine["admin_key"]) as control_client:
        assert {(row.name, row.version, row.state) for row in control_client.index()} >= {("colour", 1, "READY")}
        assert control_client.ready("colour", 1) and not control_client.ready("colour", 99)
    state_file = served.settings.state_dir / "state.json"
    assert state_file.stat().st_mode & 0o077 == 0
    assert "admin_key" not in served.state.to_dict()["engine"]


def test_a_second_start_finds_the_first(served: Served) -> None:
    assert control.start_detached(served.settings).pid == served.state.pid
    with pytest.raises(ServerAlreadyRunning):
        control.serve_foreground(served.settings)


def test_a_killed_instance_is_replaced_while_its_sibling_answers(served: Served) -> None:
    victim = stubs(served, "colour")[0]
    with Load(served) as load:
        served.until(lambda: load.good > 20)
        os.kill(victim.pid, signal.SIGKILL)
        killed = time.monotonic()
        served.until(lambda: served.state.restarts["instances"] >= 1)
        served.until(lambda: len({s.pid for s in stubs(served, "colour")} - {victim.pid}) >= 3)
        good = load.good
        served.until(lambda: load.good > good + 50)
        # quiet from here on: the dead instance was taken out of rotation
        served.report["instance healed (last failure)"] = max([t for t, _ in load.failures], default=killed) - killed
    assert served.report["instance healed (last failure)"] < 5
    # one request at a time waits a second in the dead instance, then fails: never more than a few
    assert len(load.failures) <= 4, load.failures


def test_a_model_whose_only_instance_is_killed_answers_again(served: Served) -> None:
    before = served.state.restarts["instances"]
    victim = stubs(served, "tint")[0]
    os.kill(victim.pid, signal.SIGKILL)
    killed = time.monotonic()
    served.until(lambda: served.state.restarts["instances"] > before)
    with served.client() as client:
        served.until(lambda: answers(client, "tint"))
    served.report["only instance killed, answers after"] = time.monotonic() - killed
    assert served.report["only instance killed, answers after"] < 5


def test_a_killed_triton_is_started_again(served: Served) -> None:
    before = served.state.restarts["triton"]
    os.kill(served.state.engine["pid"], signal.SIGKILL)
    killed = time.monotonic()
    served.until(lambda: served.state.restarts["triton"] > before)
    with served.client() as client:
        served.until(lambda: answers(client, "colour"))
        served.report["triton killed, fused model answers after"] = time.monotonic() - killed
        served.until(lambda: answers(client, "tint"))
    served.until(lambda: served.state.phase == "ready")
    served.report["triton killed, all ready after"] = time.monotonic() - killed
    assert served.report["triton killed, all ready after"] < 15


def test_a_killed_envoy_is_started_again(served: Served) -> None:
    before = served.state.restarts["envoy"]
    os.kill(served.state.envoy["pid"], signal.SIGKILL)
    killed = time.monotonic()
    served.until(lambda: served.state.restarts["envoy"] > before)
    with served.client() as client:
        served.until(lambda: answers(client, "colour"))
    served.report["envoy killed, answers after"] = time.monotonic() - killed
    assert served.report["envoy killed, answers after"] < 10


def test_a_second_version_is_loaded_routed_and_rolled_back_without_a_failure(served: Served) -> None:
    image = photograph()
    with Load(served) as load:
        version = served.publish(model="colour", gain=8.0)
        published = time.monotonic()
        served.until(lambda: version in ready_versions(served, "colour"))
        served.report["published, ready after"] = time.monotonic() - published
        assert served.state.model("colour").routed == 1
        with served.client("http") as client:
            for number, gain in ((1, 4.0), (version, 8.0)):
                answer = client.predict("colour", [image], version=number)[0]
                assert answer.scores[0] == pytest.approx(expected(gain, image)[1], abs=1e-4)
        served.repository.set_pointer("colour", version)
        pointed = time.monotonic()
        control.wait_until_routed(served.settings, "colour", version)
        served.report["pointer moved, routed after"] = time.monotonic() - pointed
        served.until(lambda: len(load.labels) == 2)
        served.repository.rollback("colour")
        control.wait_until_routed(served.settings, "colour", 1)
        good = load.good
        served.until(lambda: load.good > good + 20)
    assert load.failures == []
    assert {score for _, score in load.labels} == {round(expected(gain, image)[1], 3) for gain in (4.0, 8.0)}


@pytest.mark.parametrize("defect", ["broken", "wrong"])
def test_a_bad_version_is_refused_and_the_old_one_goes_on(served: Served, defect: str) -> None:
    with Load(served) as load:
        version = served.publish(model="colour", gain=6.0, **{defect: True})
        served.repository.set_pointer("colour", version)
        with pytest.raises(VersionLoadFailed) as raised:
            control.wait_until_routed(served.settings, "colour", version, timeout=30)
        assert "Traceback" not in str(raised.value)
        assert served.state.model("colour").routed == 1
        assert served.state.phase == "degraded"
        with served.client() as client, pytest.raises(SlipwayError):
            client.predict("colour", [photograph()], version=version)
        served.repository.rollback("colour")
        served.until(lambda: served.state.model("colour").pointer == 1)
        good = load.good
        served.until(lambda: load.good > good + 20)
    assert load.failures == []


def test_a_version_with_an_edited_file_is_refused_and_served_when_it_is_repaired(served: Served) -> None:
    def spoil(step: str) -> None:
        """A disk's or a person's doing, after the manifest was written and before the version exists."""
        if step.startswith("commit tint/"):
            path = served.repository.path / "tint.torchscript" / step.removeprefix("commit tint/") / "model.pt"
            path.chmod(0o644)
            good.append((path, path.read_bytes()))
            path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    good: list[tuple[Path, bytes]] = []

    recipe = Recipe(model="tint", gain=5.0, placement="separate", served="torchscript")
    version = publish(served.repository, served.scratch, recipe, spoil)
    with pytest.raises(VersionLoadFailed) as raised:
        before = served.repository.pointer("tint")
        refused = served.repository.set_pointer("tint", version)
        control.wait_until_routed(served.settings, "tint", version, timeout=30)
    assert "sha256" in str(raised.value)
    with served.client() as client:
        assert answers(client, "tint")
    path, content = good[0]
    path.write_bytes(content)
    # at once, as `slipway promote` does it twice: the supervisor sees only the same version, refused already
    served.repository.restore_pointer("tint", before, refused)
    pointer = served.repository.set_pointer("tint", version)
    control.wait_until_routed(served.settings, "tint", version, timeout=30, pointer_updated=pointer.updated)
    assert served.state.model("tint").pointer_updated == pointer.updated


def test_a_published_version_of_another_format_takes_no_network_away(served: Served) -> None:
    pixels = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    client = triton_grpc.InferenceServerClient(served.state.edge["grpc"])
    version = served.publish(model="colour", gain=4.0, served="torchscript", networks="colour.torchscript")
    served.until(lambda: version in served.state.model("colour").networks.get("colour.torchscript", []))
    stable = served.state.model("colour").routed
    answer = client.infer("colour.onnx", [_pixels(pixels)])
    assert answer.get_response().model_version == str(stable)
    client.close()


def test_a_model_that_is_not_published_is_soon_named_so(served: Served) -> None:
    started = time.monotonic()
    with pytest.raises(ModelNotFound):
        control.wait_until_routed(served.settings, "nothing", 1)
    assert time.monotonic() - started < 15


def test_a_killed_supervisor_takes_its_servers_along_and_the_next_start_is_clean(served: Served) -> None:
    state = served.state
    processes = _processes(state, served)
    os.kill(state.pid, signal.SIGKILL)
    killed = time.monotonic()
    while not all(gone(pid) for pid in (state.engine["pid"], state.envoy["pid"])):
        assert time.monotonic() - killed < 5
        time.sleep(0.05)
    with pytest.raises(ServerNotRunning):
        control.status(served.settings)
    served.repository.rollback("tint", to=1)
    assert control.start_detached(served.settings).phase == "degraded", "the wrong version 4 is still published"
    assert all(gone(pid) for pid in processes)
    with served.client() as client:
        assert answers(client, "colour") and answers(client, "tint")


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(served: Served, tmp_path: Path) -> None:
    taken = int(served.state.edge["http"].rsplit(":", 1)[1])
    asked = Settings(root=tmp_path, triton_env=ROOT / ".venv-triton", http_port=taken)
    with pytest.raises(PortUnavailable, match=str(taken)):
        control.start_detached(asked)
    assert not (asked.state_dir / "state.json").exists()


def test_a_stop_answers_what_was_accepted_and_leaves_nothing(served: Served) -> None:
    processes = _processes(served.state, served)
    with Load(served) as first, Load(served, "tint") as second:
        served.until(lambda: first.good > 100 and second.good > 100)
        started = time.monotonic()
        assert control.stop(served.settings)
        served.report["stop under load"] = time.monotonic() - started
    # no connection, or one that was told to go away before its request was read: never accepted
    for _, problem in first.failures + second.failures:
        assert isinstance(problem, ServerNotRunning), problem
        assert any(word in str(problem) for word in ("refused", "GOAWAY", "failed to connect")), problem
    accepted = [item for item in access_log(served) if item["path"].endswith("/ModelInfer")][-200:]
    assert {(item["status"], item["grpc_status"]) for item in accepted} == {(200, 0)}
    logs = served.settings.state_dir / "logs"
    own = [json.loads(line) for line in (logs / "envoy.jsonl").read_text().splitlines()]
    assert ("warning", "main") in {(line["level"], line.get("source")) for line in own}, "Envoy says that it was told"
    assert not (logs / "envoy.log").exists()
    assert all(gone(pid) for pid in processes)
    assert shared_memory.leftovers(shared_memory.prefix_for(served.settings.state_dir)) == []
    assert not (served.settings.state_dir / "state.json").exists()
    with pytest.raises(ServerNotRunning):
        control.status(served.settings)


def _processes(state: State, served: Served) -> list[int]:
    stubs_found = list_stubs(state.engine["pid"], served.settings.repository)
    return [state.pid, state.engine["pid"], state.envoy["pid"], *(stub.pid for stub in stubs_found)]
