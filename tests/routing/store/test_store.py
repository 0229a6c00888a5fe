"""The connection: migrated once, gone and back, and no secret in what it says."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from routing.postgres import Postgres
from routing.store import Store, watched
from routing.store.history import save_verdict, verdicts
from routing.store.migrate import migrate
from routing.store.tables import metadata
from slipway.errors import StoreUnavailable


def test_migrations_make_the_tables_that_the_code_knows(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    with store.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_votes_of_before_get_the_time_of_their_request(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    migrate(engine, "0001")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO exposures (request_id, experiment, time, model, why, status, duration_ms, failed, own) "
                "VALUES ('a', 'e1', 17, 'm', 'arm', 200, 1, false, true)"
            )
        )
        connection.execute(text("INSERT INTO votes VALUES ('e1', 'a', '', 2, true), ('e1', 'gone', '', 2, true)"))
    migrate(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT request_id, time FROM votes ORDER BY 1")).all() == [
            ("a", 17.0),
            ("gone", 0.0),
        ]
    engine.dispose()


def test_several_may_open_an_empty_database_at_once(empty_database_url: str) -> None:
    problems: list[Exception] = []

    def open_it() -> None:
        store = Store(empty_database_url)
        try:
            store.check()
        except Exception as problem:
            problems.append(problem)
        finally:
            store.close()

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def answers(store: Store) -> bool:
    try:
        store.check()
    except StoreUnavailable:
        return False
    return True


def test_killed_it_says_so_fast_and_back_it_works_again(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    store = Store(server.url)
    try:
        save_verdict(store, "e1", 0, "hold", {"reasons": ["one"]}, at=1.0)
        os.kill(server.pid, signal.SIGKILL)
        began = time.monotonic()
        # A connection's own process outlives the killed one for some milliseconds.
        while answers(store):
            assert time.monotonic() - began < 5
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                save_verdict(store, "e1", 1, "hold", {}, at=2.0)
        assert time.monotonic() - began < 3
        server.start()
        assert [verdict.reasons for verdict in verdicts(store, "e1")] == [("one",)]
        server.stop()
        with pytest.raises(StoreUnavailable, match="SLIPWAY_DATABASE_URL"):
            store.check()
    finally:
        store.close()
        server.stop()


def test_a_server_that_hangs_is_noticed_and_one_that_is_slow_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(watched, "_SILENCE", 0.5)
    server = Postgres(tmp_path / "postgres")
    server.start()
    assert server.pid is not None
    group, store = server.pid, Store(server.url)
    try:
        with store.begin() as connection:
            connection.execute(text("SELECT pg_sleep(1.5)"))
        processes = [group, *map(int, Path(f"/proc/{group}/task/{group}/children").read_text().split())]
        with pytest.raises(StoreUnavailable, match="no answer"), store.begin() as connection:
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            connection.execute(text("SELECT 1"))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.check()
        assert time.monotonic() - began < 5
        for process in processes:
            os.kill(process, signal.SIGCONT)
        store.check()
    finally:
        os.kill(group, signal.SIGCONT)
        store.close()
        server.stop()


def test_a_store_may_be_made_before_its_database_runs(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    store = Store(server.url)
    with pytest.raises(StoreUnavailable):
        store.check()
    server.start()
    store.check()
    store.close()
    server.stop()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:1/x",
        "postgresql://me@127.0.0.1:1/x?password=s3cret",
        "postgresql://me:s3cret@127.0.0.1:port/x",
        "postgresql://me:s3cret@127.0.0.1:1/x?nonsense=s3cret",
        "mysql://me:s3cret@127.0.0.1/x",
        "no url with s3cret",
    ],
)
def test_no_secret_is_ever_said(url: str, caplog: pytest.LogCaptureFixture) -> None:
    import traceback

    with pytest.raises(StoreUnavailable) as caught:
        Store(url).check()
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + str(caught.value.to_dict())
    assert "s3cret" not in said


def test_an_error_of_ours_is_not_taken_for_an_outage(store: Store) -> None:
    with pytest.raises(Exception, match="nonsense") as caught, store.begin() as connection:
        connection.execute(text("SELECT nonsense"))
    assert not isinstance(caught.value, StoreUnavailable)
    store.check()
