"""The supervisor with a real TorchServe: answers, versions, refusals, recovery from kill -9, a stop without a loss."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from handlers.pipeline import Pipeline
from serving import control
from serving.torchserve.server import temporary_folder
from slipway.errors import (
    ImageEmpty,
    ModelNotFound,
    RequestInvalid,
    ServerAlreadyRunning,
    ServerNotRunning,
    SlipwayError,
    VersionLoadFailed,
    VersionNotFound,
)
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.served import Load, Served, access_log, answers, gone, ready_versions
from tests.serving.dominant_colour import contract, logits, photograph

pytestmark = pytest.mark.e2e

PHOTOGRAPHS = ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png")
CLIENTS = ("grpc", "http", "grpc", "http")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("torchserve")
    settings = Settings(root=root, engine="torchserve", start_seconds=90)
    serving = Served(settings, Repository(settings.repository), root / "scratch", patience=60)
    settings.repository.mkdir()
    serving.publish(model="colour", gain=4.0, instances=2)
    serving.publish(model="tint", gain=4.0, instances=1, served="torchscript")
    started = time.monotonic()
    try:
        control.start_detached(settings)
        serving.report["start"] = time.monotonic() - started
        yield serving
    finally:
        control.stop(settings)
    print("\n" + "  ".join(f"{name}: {seconds:.2f} s" for name, seconds in serving.report.items()))


@contextlib.contextmanager
def crowd(served: Served, model: str = "colour") -> Iterator[list[Load]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Load(served, model, transport)) for transport in CLIENTS]


def within(seconds: float) -> float:
    """Of a machine with nothing else to do; one whose cores are shared gets more in proportion."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def good(loads: list[Load]) -> int:
    return sum(load.good for load in loads)


def failures(loads: list[Load]) -> list[tuple[float, SlipwayError]]:
    return [item for load in loads for item in load.failures]


def score(gain: float, image: bytes) -> tuple[str, float]:
    result = Pipeline(contract("colour"), lambda pixels: logits(pixels, gain)).run([image])[0]
    return result.labels[0], float(result.scores[0])


def java_and_workers(served: Served) -> list[psutil.Process]:
    java = psutil.Process(served.state.engine["pid"])
    return [java, *java.children(recursive=True)]


def workers(served: Served, model: str) -> list[int]:
    """Pids of the workers of a model's first version, as TorchServe itself names them."""
    from serving.torchserve.management import ManagementClient

    management, inference = (served.state.engine[name].split(":") for name in ("management", "http"))
    client = ManagementClient((management[0], int(management[1])), (inference[0], int(inference[1])))
    versions = [item for item in client.describe(model) if item.version == 1]  # a refused one may be on its way out
    return [worker.pid for item in versions for worker in item.workers if worker.pid > 0 and not gone(worker.pid)]


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("model", ["colour", "tint"])
def test_answers_equal_the_pipeline_in_process(served: Served, transport: str, model: str) -> None:
    images = [photograph(name) for name in PHOTOGRAPHS]
    with served.client(transport) as client:
        for image, found in zip(images, client.predict(model, images), strict=True):
            label, value = score(4.0, image)
            assert found.labels[0] == label
            assert found.scores[0] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_parameters_versions_and_bad_images(served: Served, transport: str) -> None:
    with served.client(transport) as client:
        answer = client.ask("colour", [photograph()], parameters={"top_k": 1})
        assert len(answer.predictions[0].labels) == 1 and answer.version == "1"
        fine, bad = client.predict("colour", [photograph(), b""])
        assert fine.labels and isinstance(bad.error, ImageEmpty)
        with pytest.raises(ImageEmpty):
            client.predict("colour", [b""])
        with pytest.raises(RequestInvalid):
            client.predict("colour", [photograph()], top_k=99)
        with pytest.raises(ModelNotFound):
            client.predict("nothing", [photograph()])
        with pytest.raises(VersionNotFound):
            client.predict("colour", [photograph()], version=9)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_more_images_than_a_request_takes_are_split(served: Served, transport: str) -> None:
    images = [photograph(), b"nothing", photograph("rocket.jpg")] * 5
    with served.client(transport) as client:
        found = client.predict("colour", images)
    assert [prediction.error is None for prediction in found] == [True, False, True] * 5
    assert [prediction.labels[0] for prediction in found[::3]] == [score(4.0, photograph())[0]] * 5


def test_the_state_names_the_engine_and_another_one_is_refused(served: Served) -> None:
    assert served.state.engine["name"] == "torchserve"
    assert control.start_detached(served.settings).pid == served.state.pid
    unsaid = Settings(root=served.settings.root)
    assert control.start_detached(unsaid).pid == served.state.pid, "nobody asked for another engine"
    with pytest.raises(ServerAlreadyRunning, match="torchserve") as raised:
        control.start_detached(Settings(root=served.settings.root, engine="triton"))
    assert "SLIPWAY_STATE_DIR" in str(raised.value)


def test_a_second_version_is_loaded_routed_and_rolled_back_without_a_failure(served: Served) -> None:
    image = photograph()
    with crowd(served) as loads:
        version = served.publish(model="colour", gain=8.0)
        published = time.monotonic()
        served.until(lambda: version in ready_versions(served, "colour"), 60)
        served.report["published, ready after"] = time.monotonic() - published
        assert served.state.model("colour").routed == 1
        for transport in ("http", "grpc"):
            with served.client(transport) as client:
                for number, gain in ((1, 4.0), (version, 8.0)):
                    answer = client.ask("colour", [image], version=number)
                    assert answer.version == str(number)
                    assert answer.predictions[0].scores[0] == pytest.approx(score(gain, image)[1], abs=1e-4)
        served.repository.set_pointer("colour", version)
        pointed = time.monotonic()
        control.wait_until_routed(served.settings, "colour", version)
        served.report["pointer moved, routed after"] = time.monotonic() - pointed
        served.until(lambda: all(len(load.labels) == 2 for load in loads))
        served.repository.rollback("colour")
        control.wait_until_routed(served.settings, "colour", 1)
        before = good(loads)
        served.until(lambda: good(loads) > before + 50)
    assert failures(loads) == []


@pytest.mark.parametrize("defect", ["broken", "wrong"])
def test_a_bad_version_is_refused_and_the_old_one_goes_on(served: Served, defect: str) -> None:
    with crowd(served, "tint") as loads:
        before = served.repository.pointer("tint")
        version = served.publish(model="tint", gain=6.0, instances=1, **{defect: True})
        written = served.repository.set_pointer("tint", version)
        with pytest.raises(VersionLoadFailed):
            control.wait_until_routed(served.settings, "tint", version, pointer_updated=written.updated)
        served.repository.restore_pointer("tint", before, written)
        assert served.state.model("tint").routed == 1
    assert failures(loads) == []


def test_a_killed_worker_loses_only_what_it_had_in_work(served: Served) -> None:
    before = served.state.restarts["instances"]
    with crowd(served) as loads:
        served.until(lambda: good(loads) > 50)
        os.kill(workers(served, "colour")[0], signal.SIGKILL)
        killed = time.monotonic()
        served.until(lambda: served.state.restarts["instances"] > before)
        done = good(loads)
        served.until(lambda: good(loads) > done + 200)
    lost = failures(loads)
    served.report["worker killed, last failure"] = max([at for at, _ in lost], default=killed) - killed
    assert len(lost) <= len(CLIENTS), lost
    assert served.report["worker killed, last failure"] < within(5)


def test_a_version_whose_only_worker_is_killed_shows_on_the_board_and_answers_again(served: Served) -> None:
    control.wait_until_routed(served.settings, "tint", 1)
    (victim,) = workers(served, "tint")
    with crowd(served, "tint") as loads:
        served.until(lambda: good(loads) > 20)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        served.until(lambda: 1 not in ready_versions(served, "tint"))
        served.report["only worker killed, seen after"] = time.monotonic() - killed
        served.until(lambda: 1 in ready_versions(served, "tint"), 90)
        served.report["only worker killed, ready after"] = time.monotonic() - killed
        done = good(loads)
        served.until(lambda: good(loads) > done + 20)
    assert len(failures(loads)) <= len(CLIENTS), failures(loads)
    assert served.report["only worker killed, seen after"] < 2


def test_a_killed_java_is_started_again_and_loses_only_what_was_in_flight(served: Served) -> None:
    processes = java_and_workers(served)
    with crowd(served) as loads:
        served.until(lambda: good(loads) > 50)
        processes[0].kill()
        killed = time.monotonic()
        served.until(lambda: gone(processes[0].pid))
        dead = time.monotonic()
        served.until(lambda: served.state.restarts["torchserve"] >= 1)
        done = good(loads)
        served.until(lambda: good(loads) > done + 50, 90)
        served.report["java killed, answers after"] = time.monotonic() - killed
        served.until(lambda: len(ready_versions(served, "colour")) == 2 and ready_versions(served, "tint"), 90)
        served.report["java killed, all ready after"] = time.monotonic() - killed
    # a client may meet the dying process twice; nobody fails who asked after it was gone
    assert len(failures(loads)) <= 2 * len(CLIENTS), failures(loads)
    assert all(at < dead + within(1) for at, _ in failures(loads)), failures(loads)
    assert served.report["java killed, answers after"] < within(15)
    assert all(gone(process.pid) for process in processes), "its workers went with it"


def test_a_killed_envoy_is_started_again(served: Served) -> None:
    before = served.state.restarts["envoy"]
    os.kill(served.state.envoy["pid"], signal.SIGKILL)
    served.until(lambda: served.state.restarts["envoy"] > before)
    with served.client("http") as client:
        served.until(lambda: answers(client, "colour"))


def test_after_a_killed_supervisor_nothing_stays(served: Served) -> None:
    processes = java_and_workers(served)
    os.kill(served.state.pid, signal.SIGKILL)
    started = time.monotonic()
    while not all(gone(process.pid) for process in processes):
        assert time.monotonic() - started < 15, [process for process in processes if not gone(process.pid)]
        time.sleep(0.05)
    control.start_detached(served.settings)
    with served.client() as client:
        assert answers(client, "colour") and answers(client, "tint")


def test_a_stop_under_load_loses_nothing_and_leaves_nothing(served: Served) -> None:
    processes = java_and_workers(served)
    with crowd(served) as first, crowd(served, "tint") as second:
        served.until(lambda: good(first) > 100 and good(second) > 100)
        started = time.monotonic()
        assert control.stop(served.settings)
        served.report["stop under load"] = time.monotonic() - started
    # no connection, or one that was told to go away before its request was read: never accepted
    for _, problem in failures([*first, *second]):
        assert isinstance(problem, ServerNotRunning), problem
    accepted = [item for item in access_log(served) if "redictions" in str(item["path"])][-400:]
    assert len(accepted) >= 200
    assert {(item["status"], item["grpc_status"]) for item in accepted} == {(200, 0), (200, None)}
    assert all(gone(process.pid) for process in processes)
    assert not temporary_folder(served.settings.state_dir / "torchserve").exists()
    assert not list(Path(served.settings.state_dir).glob("**/.ts.sock.*"))
    assert not (served.settings.state_dir / "state.json").exists()
    with pytest.raises(ServerNotRunning):
        control.status(served.settings)
