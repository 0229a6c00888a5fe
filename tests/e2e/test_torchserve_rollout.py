"""Rollouts on TorchServe as a user runs them, over HTTP and gRPC; its gRPC says OK of what a handler refuses."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from routing.assignment import assign
from routing.controller.seen import read_seen
from routing.plan.model import RoutePlan
from routing.rollout import control as rollouts
from serving import control
from slipway import experiment as experiments
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.rolling import begin, bright, ended, plan, state_of
from tests.e2e.served import Load, Served, access_log, ready_versions

pytestmark = pytest.mark.e2e
TRANSPORTS = ("http", "grpc")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("torchserve-rollout")
    settings = Settings(root=root, engine="torchserve", start_seconds=90)
    serving = Served(settings, Repository(settings.repository), root / "scratch", patience=60)
    settings.repository.mkdir()
    serving.publish(gain=4.0, instances=1)
    try:
        control.start_detached(settings)
        yield serving
    finally:
        control.stop(settings)


def publish(served: Served, **recipe: object) -> int:
    version = served.publish(gain=4.0, instances=1, **recipe)
    served.until(lambda: version in ready_versions(served, "colour"), 90)
    return version


def routed(served: Served, version: int) -> bool:
    """Whether a unit of the canary sees it: the edge follows a rollout within a second."""
    experiment = experiments.read(served.settings.repository, "colour")
    assert experiment is not None
    unit = next(name for name in (f"probe-{n}" for n in range(1000)) if assign(experiment, name).version == version)
    with served.client("http") as client:
        return client.ask("colour", [bright()], request_id=f"{unit}").version == str(version)


def test_a_canary_gets_its_share_and_its_exposures_reach_the_store(served: Served) -> None:
    version = publish(served)
    begun = begin(served, RoutePlan(canary=version, share="30%", compare=0))
    served.until(lambda: routed(served, version))
    experiment = experiments.read(served.settings.repository, "colour")
    assert experiment is not None
    expected = {f"unit-{n}": str(assign(experiment, f"unit-{n}").version) for n in range(120)}
    for number, transport in enumerate(TRANSPORTS):
        with served.client(transport) as client:
            asked = [unit for unit in expected if int(unit.partition("-")[2]) % 2 == number]
            found = {unit: client.ask("colour", [bright()], request_id=unit).version for unit in asked}
        assert found == {unit: expected[unit] for unit in asked}
    canary = list(expected.values()).count(str(version))
    assert 20 < canary < 52

    def counted() -> bool:
        seen = read_seen(served.settings, "colour", begun.experiment)
        arms = {arm["version"]: arm for arm in seen.arms} if seen else {}
        # the probe before saw the canary too
        return bool(arms) and arms[1]["requests"] == 120 - canary and arms[version]["requests"] >= canary

    served.until(counted, 30)
    rows = {row["request_id"]: row for row in access_log(served) if row["experiment"] == begun.experiment}
    assert {unit: rows[unit]["answered"] for unit in expected} == expected
    rollouts.stop(served.settings, "colour")


def test_a_good_canary_is_promoted_by_itself_without_a_failed_request(served: Served) -> None:
    version = publish(served)
    with Load(served, transport="grpc") as grpc, Load(served, transport="http") as http:
        begin(served, plan(version, steps=("20%", "100%")))
        started = time.monotonic()
        served.until(lambda: ended(served), 90)
        assert state_of(served).status == "promoted", state_of(served)
        served.until(lambda: served.state.model("colour").routed == version)
        print(f"\npromoted after {time.monotonic() - started:.1f} s, {grpc.good} + {http.good} requests")
    assert grpc.failures == [] and http.failures == []
    assert grpc.good > 50 and http.good > 50


def test_a_canary_that_answers_nan_is_aborted_and_no_client_sees_it(served: Served) -> None:
    stable = served.repository.pointer("colour").stable
    version = publish(served, nan_above=220.0)
    begun, asked = begin(served, plan(version, steps=("20%", "100%"))), 0
    experiment = experiments.read(served.settings.repository, "colour")
    assert experiment is not None
    units = (unit for unit in map(str, itertools.count()) if assign(experiment, unit).version == version)
    started = time.monotonic()
    with served.client("http") as http, served.client("grpc") as grpc:
        while not ended(served):
            assert time.monotonic() - started < 60
            for client in (http, grpc):
                answer = client.ask("colour", [bright()], request_id=next(units))
                assert answer.version == str(stable) and answer.predictions[0].labels[0] == "red"
                asked += 1
    assert state_of(served).status == "aborted"
    rows = [row for row in access_log(served) if row["experiment"] == begun.experiment and row["failed"]]
    assert {str(row["protocol"]) for row in rows} == {"HTTP/1.1", "HTTP/2"}, "a failure on both transports"
    assert {(row["answered"], row["status"], row["grpc_status"] or 0) for row in rows} == {(str(stable), 200, 0)}
    print(f"\naborted after {time.monotonic() - started:.1f} s, {len(rows)} of {asked} requests met the canary")
