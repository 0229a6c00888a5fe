"""An arm that does not answer: the stable version is asked beside it, which itself keeps the whole time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from routing.store.rows import EXPOSURE_COLUMNS, exposure
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm, Experiment
from tests.serving.edge.edge_rig import Rig, log, wait
from tests.serving.edge.test_experiments import CANARY, Grpc, answered, ask, seen

pytestmark = pytest.mark.e2e
HUNG = replace(CANARY, arms=(Arm(2, 0, 10000),), try_timeout=0.5)
Follow = Callable[[Experiment], None]


@pytest.fixture
def follow(rig: Rig) -> Iterator[Follow]:
    def start(experiment: Experiment) -> None:
        rig.route(EdgeRoutes(True, {"echo": 1, "double": 1}, (LiveExperiment(experiment, (1, 2, 3)),)))
        if experiment.arms:
            wait(lambda: answered(ask(rig, "u")) == "2", 30, "the arm is free, and asked again after its ejection")

    yield start
    rig.route(rig.table)


def asked(rig: Rig, transport: str, text: str, request_id: str) -> str:
    """The version that answered."""
    if transport == "http":
        return answered(ask(rig, "u", text, x_request_id=request_id))
    return Grpc(rig).ask("u", text, request_id=request_id)


def test_the_stable_version_keeps_its_whole_time_and_is_asked_once(rig: Rig, follow: Follow) -> None:
    follow(replace(HUNG, id="hang-slow"))
    text = "late2:5:2.5:"
    started = time.monotonic()
    assert asked(rig, "http", text, "h-slow") == "1" and time.monotonic() - started > 3
    assert log(rig, "h-slow")["attempts"] == 2 and seen(rig, 1, text) == 1
    follow(replace(HUNG, id="hang-stable", arms=()))
    assert asked(rig, "http", "sleep1.2", "h-stable") == "1" and log(rig, "h-stable")["attempts"] == 1


def test_an_answer_that_comes_late_is_named_after_its_version(rig: Rig, follow: Follow) -> None:
    """Whoever answers first; the arm has failed all the same."""
    follow(replace(HUNG, id="hang-late"))
    for transport in ("http", "grpc"):
        assert asked(rig, transport, "late2:1:3:", f"h-late-{transport}") == "2"
        row = log(rig, f"h-late-{transport}")
        assert (row["answered"], row["failed"]) == ("2", "1")


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_failure_that_comes_late_is_not_seen(rig: Rig, follow: Follow, transport: str) -> None:
    follow(replace(HUNG, id="hang-raise"))
    assert asked(rig, transport, "late2:1:1.5:raise", f"h-raise-{transport}") == "1"


def test_a_fault_of_both_asks_each_once(rig: Rig, follow: Follow) -> None:
    """What the stable version fails at is not repeated by the router behind the arm's."""
    follow(replace(HUNG, id="hang-both"))
    before = seen(rig, 1, "raise")
    assert ask(rig, "u", "raise", x_request_id="h-both").status == 500
    assert log(rig, "h-both")["attempts"] == 2
    assert seen(rig, 1, "raise") == before + 1


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_hanging_arm_falls_back_counts_as_failed_and_is_ejected(rig: Rig, follow: Follow, transport: str) -> None:
    follow(replace(HUNG, id=f"hang-{transport}"))
    started = time.monotonic()
    assert asked(rig, transport, "late2:2:0:", f"h-{transport}") == "1"
    assert 0.5 <= time.monotonic() - started < 3
    row = log(rig, f"h-{transport}")
    assert (row["assigned"], row["answered"], row["failed"], row["attempts"]) == ("2", "1", "1", 2)
    assert exposure(json.dumps(row).encode())[EXPOSURE_COLUMNS.index("failed")] is True
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda n: asked(rig, transport, "late2:2:0:", f"h-{transport}-{n}"), range(5)))
    assert found == ["1"] * 5
    assert asked(rig, transport, "late2:2:0:", f"h-{transport}-out") == "1"
    row = log(rig, f"h-{transport}-out")
    assert (row["failed"], row["attempts"]) == (None, 1) and float(str(row["duration_ms"])) < 400
