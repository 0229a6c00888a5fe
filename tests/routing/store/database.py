"""One PostgreSQL for all tests, an empty database for each, and lines as the edge and the handlers write them."""

import itertools
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from routing.postgres import Postgres
from routing.store import Store

T0 = 1_700_000_000.0
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("database") / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a database with the tables, to be copied: faster than migrating for every test."""
    store = Store(_create(postgres, "migrated", "template1"))
    store.check()
    store.close()
    return "migrated"


@pytest.fixture
def database_url(postgres: Postgres, migrated: str) -> str:
    return _create(postgres, f"test_{next(_numbers)}", migrated)


@pytest.fixture
def empty_database_url(postgres: Postgres) -> str:
    return _create(postgres, f"test_{next(_numbers)}", "template1")


def _create(postgres: Postgres, name: str, template: str) -> str:
    with psycopg.connect(postgres.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return make_url(postgres.url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


def rows(store: Store, statement: str) -> list[tuple]:
    with store.begin() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def one(store: Store, statement: str):
    return rows(store, statement)[0][0]


def access(request_id: str, version: int = 1, at: float = 0.0, **changes) -> str:
    values = {
        "time": datetime.fromtimestamp(T0 + at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": request_id,
        "protocol": "http",
        "model": "digits",
        "version": str(version),
        "status": 200,
        "grpc_status": None,
        "code": None,
        "duration_ms": 10,
        "attempts": 1,
        "experiment": "e1",
        "assigned": str(version),
        "answered": str(version),
        "why": "stable" if version == 1 else "arm",
        "unit": f"{abs(hash(request_id)) % 2**32:08x}",
        "failed": None,
    }
    return json.dumps({**values, **changes}) + "\n"


def predicted(request_id: str, version: int = 1, at: float = 0.0, label: str = "7", **changes) -> str:
    values = {
        "time": T0 + at,
        "request_id": request_id,
        "model": "digits",
        "version": version,
        "index": 0,
        "task": "classification",
        "code": None,
        "not_finite": False,
        "ms": 3.5,
        "summary": {"label": label, "score": 0.9, "top": [[label, 0.9]]},
    }
    return json.dumps({**values, **changes}) + "\n"


class Logs:
    """The folders that are followed, written as their owners do."""

    def __init__(self, root: Path) -> None:
        self.edge, self.predictions = root / "logs", root / "predictions"
        self.edge.mkdir()
        self.predictions.mkdir()
        self.access_log = self.edge / "edge-access.jsonl"

    def expose(self, *lines: str) -> None:
        with self.access_log.open("a") as stream:
            stream.writelines(lines)

    def predict(self, *lines: str, worker: int = 41) -> None:
        with (self.predictions / f"{worker}.jsonl").open("a") as stream:
            stream.writelines(lines)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)
