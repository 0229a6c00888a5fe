"""Every line once: rotation, halves of lines, garbage, doubles, and a process that dies at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routing.store import Store
from routing.store.ingest import Ingest
from routing.store.lock import lock
from tests.routing.store.database import Logs, access, one, predicted, rows

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ingest(store: Store, logs: Logs) -> Ingest:
    return Ingest(store, logs.edge, logs.predictions)


def test_rows_hold_what_the_lines_say(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.expose(access("a", 2, unit="0000000f", grpc_status=0, protocol="grpc"))
    logs.predict(predicted("a", 2))
    assert ingest.run_once() == 2
    columns = "request_id, experiment, unit, assigned, answered, why, protocol, status, grpc_status, failed, own"
    assert rows(store, f"select {columns} from exposures") == [
        ("a", "e1", 15, 2, 2, "arm", "grpc", 200, 0, False, True)
    ]
    assert rows(store, "select version, \"index\", summary ->> 'label', not_finite from predictions") == [
        (2, 0, "7", False)
    ]
    assert ingest.run_once() == 0


def test_requests_outside_experiments_are_passed_over(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.expose(access("a", experiment=None), access("b"))
    assert (ingest.run_once(), ingest.skipped) == (1, 0)


def test_half_a_line_waits_for_its_end(store: Store, logs: Logs, ingest: Ingest) -> None:
    line = access("b")
    logs.expose(access("a"), line[:30])
    assert ingest.run_once() == 1
    logs.expose(line[30:])
    assert ingest.run_once() == 1
    assert one(store, "select count(*) from exposures") == 2


def test_garbage_is_counted_and_stops_nothing(store: Store, logs: Logs, ingest: Ingest) -> None:
    garbage = [
        "not json\n",
        "[1]\n",
        "[" * 100_000 + "\n",
        access("nul\x00"),
        access("x" * 600),
        access("v", assigned="two"),
        access("t", time=5),
        access("u", unit="-1"),
        access("s", status=10**12),
        access("half", model="\ud800"),
    ]
    logs.expose(access("a"), *garbage, "\n", access("b"))
    logs.predict(predicted("p", summary={"label": "\x00"}), predicted("q", version=-1), predicted("r"))
    assert ingest.run_once() == 3
    assert ingest.skipped == len(garbage) + 2
    assert one(store, "select sum(skipped) from offsets") == len(garbage) + 2


def test_a_prediction_that_holds_nan_is_kept(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.predict(predicted("a", not_finite=True, summary={"label": "7", "score": float("nan")}))
    assert ingest.run_once() == 1
    assert rows(store, "select not_finite, summary ->> 'score' from predictions") == [(True, None)]


def test_rotation_by_rename_loses_and_doubles_nothing(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.expose(access("a"))
    ingest.run_once()
    logs.expose(access("b"))
    logs.access_log.rename(logs.edge / "edge-access.1.jsonl")
    logs.expose(access("c"))
    assert ingest.run_once() == 2
    with (logs.edge / "edge-access.1.jsonl").open("a") as late:
        late.write(access("d"))
    assert ingest.run_once() == 1
    assert rows(store, "select request_id from exposures order by 1") == [("a",), ("b",), ("c",), ("d",)]
    assert one(store, "select sum(requests) from tallies") == 4


def test_a_deleted_file_and_its_number_used_again(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.predict(predicted("a"), predicted("b"))
    ingest.run_once()
    path = logs.predictions / "41.jsonl"
    path.write_text(predicted("c") + predicted("d") + predicted("e"))  # the same inode with another content
    assert ingest.run_once() == 3
    path.unlink()
    assert ingest.run_once() == 0
    assert one(store, "select count(*) from predictions") == 5


def test_the_same_lines_again_change_nothing(store: Store, logs: Logs, ingest: Ingest) -> None:
    logs.expose(*[access(f"r{i}", 1 + i % 2, at=i) for i in range(100)], access("r1", 2, at=1))
    logs.predict(*[predicted(f"r{i}", 1 + i % 2) for i in range(100)])
    ingest.run_once()
    before = [rows(store, f"select * from {table} order by 1, 2, 3") for table in ("tallies", "recorded", "units")]
    assert one(store, "select sum(requests) from tallies") == 100
    with store.begin() as connection:
        connection.exec_driver_sql("delete from offsets")
    Ingest(store, logs.edge, logs.predictions).run_once()
    after = [rows(store, f"select * from {table} order by 1, 2, 3") for table in ("tallies", "recorded", "units")]
    assert after == before


_REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON predictions FOR EACH ROW WHEN (NEW.request_id = 'p') EXECUTE FUNCTION refuse()
"""


def test_what_postgresql_refuses_is_found_and_left_out(store: Store, logs: Logs, ingest: Ingest) -> None:
    store.check()
    with store.begin() as connection:
        connection.exec_driver_sql(_REFUSES)
    logs.predict(*[predicted(name) for name in "abcdpef"])
    ingest.run_once()
    assert [name for (name,) in rows(store, "select request_id from predictions order by 1")] == list("abcdef")
    assert ingest.skipped == 1


def test_folders_that_are_not_there_yet(store: Store, tmp_path: Path) -> None:
    assert Ingest(store, tmp_path / "no", tmp_path / "none").run_once() == 0


_PROCESS = """
import sys
from pathlib import Path
from routing.store import Store, tail
from routing.store.ingest import Ingest
from routing.store.lock import lock
tail.BATCH_BYTES = 30_000
Ingest(Store(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])).run_once()
"""


@pytest.mark.parametrize("progress", [1, 3_000, 9_000])
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    store: Store, database_url: str, logs: Logs, progress: int
) -> None:
    count = 12_000
    logs.expose(*[access(f"r{i}", 1 + i % 2, at=i) for i in range(count)])
    logs.predict(*[predicted(f"r{i}", 1 + i % 2) for i in range(500)])
    store.check()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROCESS, database_url, str(logs.edge), str(logs.predictions)], cwd=ROOT
    )
    deadline = time.monotonic() + 20
    while one(store, "select count(*) from exposures") < progress and time.monotonic() < deadline:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert one(store, "select count(*) from exposures") < count, "killed too late to prove anything"
    ingest = Ingest(store, logs.edge, logs.predictions)
    ingest.run_once()
    assert one(store, "select count(*) from exposures") == count
    assert one(store, "select sum(requests) from tallies") == count
    assert one(store, "select count(*) from units") == len({json.loads(access(f"r{i}"))["unit"] for i in range(count)})
    assert one(store, "select sum(images) from recorded") == 500


@pytest.mark.parametrize("blocked", ["tallies", "offsets"])
def test_rows_and_their_place_are_saved_together_or_not_at_all(
    store: Store, database_url: str, logs: Logs, blocked: str
) -> None:
    logs.expose(*[access(f"r{i}") for i in range(10)])
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    store.check()
    with store.begin() as holder:
        # Reading goes on, so the process comes as far as writing this table and waits there.
        holder.exec_driver_sql(f"LOCK TABLE {blocked} IN SHARE MODE")
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, database_url, str(logs.edge), str(logs.predictions)], cwd=ROOT
        )
        deadline = time.monotonic() + 20
        while one(store, waiting) == 0:
            assert process.poll() is None and time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with store.begin() as connection:
        lock(connection)  # the dead one's transaction has ended
    assert one(store, "select count(*) from exposures") == 0
    assert one(store, "select count(*) from offsets") == 0
    assert Ingest(store, logs.edge, logs.predictions).run_once() == 10
    assert one(store, "select sum(requests) from tallies") == 10


def test_a_file_that_grows_faster_than_it_is_read_is_left_for_the_next_pass(
    store: Store, logs: Logs, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, passes = Ingest._batch, iter(range(1, 100))

    def growing(self: Ingest, source: object, tail: object) -> int | None:
        logs.expose(access(f"more-{next(passes)}"))
        return batch(self, source, tail)  # type: ignore[arg-type]

    logs.expose(access("first"))
    monkeypatch.setattr(Ingest, "_batch", growing)
    assert ingest.run_once() == 2
    logs.expose(access("later"))
    assert ingest.run_once() == 2
