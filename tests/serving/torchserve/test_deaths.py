"""Workers and java that are killed, and what is left after a stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from serving.torchserve import archive, leftovers, readiness
from slipway.errors import ServerUnavailable
from tests.serving.dominant_colour import Recipe, photograph, publish
from tests.serving.torchserve.conftest import Rig, rig_at

pytestmark = pytest.mark.e2e
_SLOW_HANDLER = """
import time

from handlers.torchserve import TorchServeModel


class Handler(TorchServeModel):
    def handle(self, data, context):
        if data[0]:
            time.sleep(8)
        return super().handle(data, context)
"""


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, what
        time.sleep(0.05)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("deaths")
    made = rig_at(folder, folder / "repository")
    for version in (1, 2):
        publish(made.repository, folder / str(version), Recipe(gain=2.0 + version))
    try:
        yield made
    finally:
        made.server.stop(grace=20)


@pytest.fixture
def rig(made: Rig) -> Rig:
    """Both versions loaded, version 1 the default; started again when the test before has ended it."""
    if made.server.process is None or made.server.died:
        made.server.stop(grace=0)
        made.start()
    assert made.loader.apply("colour", [1, 2]) == {}
    made.loader.route("colour", 1)
    return made


def test_a_killed_worker_is_replaced_and_costs_only_what_it_had_in_work(rig: Rig) -> None:
    before = rig.pids("colour", 1)
    assert len(before) == 2
    image = photograph()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(rig.post, "colour/1", image) for _ in range(400)]
        wait_for(lambda: asked[40].done(), 60, "requests are answered")
        os.kill(before[0], signal.SIGKILL)
        statuses = [item.result()[0] for item in asked]
    # 507 where java sees the exit code of SIGKILL in time, which it takes for a lack of memory (0.12)
    assert statuses.count(200) >= 396 and set(statuses) <= {200, 500, 507}, statuses
    wait_for(lambda: len(rig.pids("colour", 1)) == 2 and before[0] not in rig.pids("colour", 1), 60, "a new worker")
    readiness.check_version(rig.server.client, rig.repository, "colour", 1, 20)
    assert rig.pids("colour", 2), "the other version has its workers"


def test_a_killed_java_takes_its_workers_along_and_starts_again(rig: Rig) -> None:
    workers = [pid for version in (1, 2) for pid in rig.pids("colour", version)]
    os.kill(rig.server.process.pid, signal.SIGKILL)
    wait_for(lambda: rig.server.died, 10, "the death is seen")
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in workers), 10, "the workers are gone")
    with pytest.raises(ServerUnavailable):
        rig.server.client.describe("colour")
    rig.server.stop(grace=0)
    rig.start()
    assert rig.loader.models == [] and rig.loader.apply("colour", [2]) == {}
    readiness.check_version(rig.server.client, rig.repository, "colour", 2, 20)


def test_stale_workers_are_made_anew_while_the_default_stays(rig: Rig) -> None:
    before = rig.pids("colour", 1) + rig.pids("colour", 2)
    rig.loader.mark_stale("colour")
    assert not rig.loader.is_current("colour", [1, 2])
    assert rig.loader.apply("colour", [1, 2]) == {}
    after = rig.pids("colour", 1) + rig.pids("colour", 2)
    assert len(after) == 4 and not set(before) & set(after)
    assert rig.post("colour", photograph())[2]["x-slipway-version"] == "1"


def test_an_unwanted_version_goes_when_the_edge_has_turned_away(rig: Rig) -> None:
    assert rig.loader.apply("colour", [2]) == {}
    assert rig.loader.is_current("colour", [2])
    assert rig.post("colour/1", photograph())[0] == 200, "who was on the way to it is still answered"
    assert rig.post("colour", photograph())[2]["x-slipway-version"] == "2"

    def only_two() -> bool:
        rig.loader.reap_orphans()
        return [found.version for found in rig.server.client.describe("colour")] == [2]

    assert wait_for(only_two, 30, "version 1 is ended") > 3
    assert rig.loader.apply("colour", [1, 2]) == {} and rig.post("colour/1", photograph())[0] == 200


def test_an_unwanted_version_answers_the_requests_that_its_workers_compute(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that takes eight seconds, longer than an idle version stays; of two workers first both, then one."""
    monkeypatch.setattr(archive, "_HANDLER_TEXT", _SLOW_HANDLER)
    slow = publish(rig.repository, rig.settings.root / "slow", Recipe())
    assert rig.loader.apply("colour", [1, 2, slow]) == {}

    def versions() -> list[int]:
        rig.loader.reap_orphans()
        return [found.version for found in rig.server.client.describe("colour")]

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(rig.post, f"colour/{slow}", photograph())]
        assert rig.loader.apply("colour", [1, 2]) == {}
        time.sleep(2)
        asked.append(pool.submit(rig.post, f"colour/{slow}", photograph()))
        wait_for(lambda: versions() == [1, 2], 30, "the slow version is ended")
        assert [item.done() for item in asked] == [True, True]
        assert [item.result()[0] for item in asked] == [200, 200]


def test_nothing_is_left_after_a_stop(rig: Rig) -> None:
    processes, folder = rig.processes(), rig.server.config.temporary
    rss = {item.pid: item.memory_full_info().pss >> 20 for item in processes}
    assert len(processes) == 5 and (folder / "models").is_dir(), rss
    assert rig.server.stop(grace=20) == 143, "java ends by itself at SIGTERM"
    assert not any(item.is_running() for item in processes) and leftovers.workers(folder) == []
    assert not folder.exists() and not list(rig.server.config.folder.rglob("*key_file*"))


def test_workers_of_a_dead_supervisors_java_are_swept(rig: Rig) -> None:
    """As after a power cut of the supervisor: java was killed, and one worker hangs on."""
    (hanging, *_) = rig.pids("colour", 1)
    assert hanging in leftovers.workers(rig.server.config.temporary)
    os.kill(hanging, signal.SIGSTOP)
    assert leftovers.sweep(rig.server.config.temporary) >= 4
    wait_for(lambda: not psutil.pid_exists(hanging) or not psutil.Process(hanging).is_running(), 20, "it is gone")
