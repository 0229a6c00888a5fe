"""Rollouts as a user runs them: real Triton, Envoy, PostgreSQL and controller, clients that never pause."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from routing.controller import places
from routing.controller.seen import read_seen
from routing.postgres import Postgres
from serving import control
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.rolling import begin, bright, ended, plan, state_of
from tests.e2e.served import ROOT, Load, Served, access_log, ready_versions

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("rollout")
    settings = Settings(root=root, triton_env=ROOT / ".venv-triton", start_seconds=60)
    serving = Served(settings, Repository(settings.repository), root / "scratch")
    settings.repository.mkdir()
    serving.publish(gain=4.0)
    control.start_detached(settings)
    yield serving
    control.stop(settings)
    assert not Postgres(settings.state_dir / "postgres").alive()


def test_a_good_canary_is_promoted_by_itself_without_a_failed_request(served: Served) -> None:
    """Also when the controller is killed on the way: it comes back and goes on with the same experiment."""
    version = served.publish(gain=4.0)
    served.until(lambda: version in ready_versions(served, "colour"))
    with Load(served, transport="grpc") as grpc, Load(served, transport="http") as http:
        begun = begin(served, plan(version))
        served.until(lambda: places.heartbeat(served.settings).exists(), 60)
        served.until(lambda: state_of(served).step >= 1, 60)
        pid = controller(served)
        os.kill(pid, signal.SIGKILL)
        served.until(lambda: controller(served) != pid, 60)
        served.until(lambda: ended(served), 90)
        state = state_of(served)
        assert (state.status, state.experiment) == ("promoted", begun.experiment), state
        served.until(lambda: served.state.model("colour").routed == version)
    assert grpc.failures == [] and http.failures == []
    assert grpc.good > 100 and http.good > 100
    assert served.repository.pointer("colour").stable == version


def controller(served: Served) -> int:
    return int(json.loads(places.heartbeat(served.settings).read_text())["pid"])


def test_a_canary_that_answers_nan_is_aborted_and_no_client_sees_it(served: Served) -> None:
    stable = served.repository.pointer("colour").stable
    version = served.publish(gain=4.0, nan_above=220.0)
    served.until(lambda: version in ready_versions(served, "colour"))
    image, failures, asked = bright(), [], 0
    begin(served, plan(version, steps=("20%", "100%")))
    started = time.monotonic()
    with served.client("http") as client:
        while not ended(served):
            assert time.monotonic() - started < 60
            try:
                assert client.predict("colour", [image])[0].labels[0] == "red"
            except Exception as problem:  # counted, and shown by the assertion below
                failures.append(problem)
            asked += 1
    state = state_of(served)
    assert state.status == "aborted" and failures == [], (state, failures[:3])
    rows = [row for row in access_log(served) if row["experiment"] == state.experiment]
    failed = [row for row in rows if row["failed"]]
    assert failed and all(row["answered"] == str(stable) and row["status"] == 200 for row in failed)
    took = time.monotonic() - started
    assert any("NaN" in reason or "failed" in reason for reason in state.reasons)
    # the whole look follows the abort, for status and report
    served.until(lambda: read_seen(served.settings, "colour", state.experiment) is not None)
    print(f"\naborted after {took:.2f} s, {len(failed)} of {asked} requests met the canary and failed")
    assert served.repository.pointer("colour").stable == stable


def test_after_an_abort_everybody_sees_the_stable_version(served: Served) -> None:
    with served.client("grpc") as client:
        for _ in range(20):
            assert client.predict("colour", [bright()])[0].labels[0] == "red"
