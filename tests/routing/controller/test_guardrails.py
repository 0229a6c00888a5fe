"""Guardrails over a real database with many rows: an abort does not wait for the full look."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from routing.controller.loop import Controller
from routing.controller.seen import read_seen
from routing.controller.store_book import StoreBook
from routing.plan.model import RoutePlan
from routing.rollout import control
from routing.store import Store
from serving.json_log import open_log
from slipway.settings import Settings
from tests.routing.store.database import T0, access

MANY = 300_000
AUTO = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "100%"], "auto": True, "rules": {"latency": None}})
_EXPOSED = """
INSERT INTO exposures (request_id, experiment, time, model, unit, assigned, answered, why, status, duration_ms,
  failed, own)
SELECT 'r' || i, :experiment, :since + 3, 'digits', i, v, v, CASE v WHEN 1 THEN 'stable' ELSE 'arm' END, 200, i % 50,
  false, true
FROM (SELECT i, 1 + (i % 1000) / 999 AS v FROM generate_series(1, :many) i) numbered
"""
_COUNTED = (
    "INSERT INTO tallies SELECT experiment, assigned, failed, own, duration_ms, count(*) FROM exposures"
    " GROUP BY 1, 2, 3, 4, 5",
    "INSERT INTO units SELECT experiment, unit, assigned, time FROM exposures",
    "INSERT INTO votes SELECT experiment, request_id, '', assigned, true, time FROM exposures",
)


@pytest.fixture
def controller(settings: Settings, database_url: str) -> Iterator[Controller]:
    log = open_log("routing", settings.state_dir / "logs")
    book = StoreBook(settings.model_copy(update={"database_url": database_url}), log)
    controller = Controller(settings, book, log)
    yield controller
    controller.close()
    book.close()


def fill(store: Store, experiment: str, since: float) -> None:
    with store.begin() as connection:
        connection.execute(text(_EXPOSED), {"experiment": experiment, "since": since, "many": MANY})
        for statement in _COUNTED:
            connection.execute(text(statement))


def test_failures_abort_within_a_second_whatever_there_is_to_count(
    settings: Settings, controller: Controller, store: Store
) -> None:
    state = control.start(settings, "digits", AUTO)
    fill(store, state.experiment, state.started)
    with store.begin() as reader:
        # a full look reads this table too, and takes as long as it is locked: as with a hundred times as many rows
        reader.execute(text("LOCK TABLE comparisons IN ACCESS EXCLUSIVE MODE"))
        controller.tick()
        assert control.current(settings, "digits").status == "running"
        with (settings.state_dir / "logs" / "edge-access.jsonl").open("a") as log:
            at = state.started + 4 - T0
            log.writelines(access(f"bad{i}", 2, at, status=503, experiment=state.experiment) for i in range(100))
        began = time.monotonic()
        controller.tick()
        # some hundredths of a second on a quiet machine; the process begins a pass every half second
        assert time.monotonic() - began < 1
        after = control.current(settings, "digits")
        assert after.status == "aborted"
        assert "failed 100 of 400 requests" in after.reasons[0]
        assert read_seen(settings, "digits", state.experiment) is None
    # what ended it is shown once the look comes through
    deadline = time.monotonic() + 20
    while (seen := read_seen(settings, "digits", state.experiment)) is None:
        assert time.monotonic() < deadline
        controller.tick()
    assert seen.arms[1]["errors"] == 100 and seen.verdict is not None and seen.verdict["decision"] == "abort"
