"""Feedback over HTTP and from files: what is taken, what is refused and how."""

import http.client
import json
from pathlib import Path

import pytest

from routing import drift, feedback
from routing.feedback import FeedbackServer, parse, parse_file, save, serve
from routing.store import Store
from slipway.errors import FeedbackInvalid, PortUnavailable, StoreUnavailable
from slipway.settings import Settings
from tests.routing.rollout.conftest import settings  # noqa: F401
from tests.routing.store.database import database_url, migrated, one, postgres, rows, store  # noqa: F401


@pytest.fixture
def server(store: Store, settings: Settings):  # noqa: F811
    server = serve(store, settings)
    yield server
    server.stop()


def call(server: FeedbackServer, body: bytes | str, method: str = "POST", path: str = "/feedback", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    values = json.loads(answer.read())
    connection.close()
    return answer.status, answer.headers.get_content_type(), values


LABEL = '{"request_id": "a", "label": "7"}'
OUTCOME = '{"request_id": "a", "outcome": "clicked", "value": true}'
CORRECT = '{"request_id": "b", "correct": false}'


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (LABEL, 1),
        (json.dumps(json.loads(LABEL), indent=2), 1),
        (f"[{LABEL}, {OUTCOME}, {CORRECT}]", 3),
        (f"{LABEL}\n\n{OUTCOME}\r\n{CORRECT}\n", 3),
        ("[]", 0),
    ],
)
def test_objects_arrays_and_lines_are_stored(server: FeedbackServer, store: Store, body: str, count: int) -> None:  # noqa: F811
    assert call(server, body) == (202, "application/json", {"accepted": count})
    assert one(store, "select (select count(*) from labels) + (select count(*) from outcomes)") == count


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "empty"),
        (b"\xff", "UTF-8"),
        ("{", "line 1 .*not JSON"),
        (f"{LABEL}\n{{nonsense\n", "line 2 .*not JSON"),
        ("[" * 100_000, "not JSON"),
        (f"{LABEL}\n5", "line 2 .*not an object"),
        ('{"label": "7"}', "request_id must be"),
        ('{"request_id": "", "label": "7"}', "request_id must be"),
        ('{"request_id": "a\\u0000", "label": "7"}', "request_id must be"),
        (json.dumps({"request_id": "a" * 513, "label": "7"}), "request_id must be"),
        ('{"request_id": "a"}', "exactly one of"),
        ('{"request_id": "a", "label": "7", "correct": true}', "exactly one of"),
        ('{"request_id": "a", "label": "7", "value": true}', "an outcome needs a value"),
        ('{"request_id": "a", "outcome": "clicked"}', "an outcome needs a value"),
        ('{"request_id": "a", "outcome": "clicked", "value": "yes"}', "value must be true or false"),
        ('{"request_id": "a", "outcome": "clicked", "value": null}', "value must be true or false"),
        ('{"request_id": "a", "correct": "no"}', "correct must be true or false"),
        ('{"request_id": "a", "label": ["7"]}', "label must be a text"),
        ('{"request_id": "a", "label": "\\ud800"}', "label must be a text"),
        ('{"request_id": "a", "label": "7", "time": NaN}', "time must be"),
        ('{"request_id": "a", "label": "7", "time": 99999999999}', "time must be"),
        ('{"request_id": "a", "label": "7", "time": 1' + "0" * 400 + "}", "time must be"),
        ('{"request_id": "a", "label": "7", "time": -1' + "0" * 400 + "}", "time must be"),
        ('{"request_id": "a", "lable": "7"}', "unknown fields"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(body: str | bytes, reason: str) -> None:
    with pytest.raises(FeedbackInvalid, match=reason):
        parse(body)


def test_labels_may_be_numbers_and_times_given() -> None:
    (item,) = parse('{"request_id": "a", "label": 7, "time": 5}')
    assert (item.label, item.time) == ("7", 5.0)


def test_one_wrong_line_stores_nothing(server: FeedbackServer, store: Store) -> None:  # noqa: F811
    status, kind, problem = call(server, f"{LABEL}\nnonsense\n")
    assert (status, kind, problem["code"], problem["status"]) == (
        400,
        "application/problem+json",
        "FEEDBACK_INVALID",
        400,
    )
    assert "line 2" in problem["title"]
    assert rows(store, "select * from labels") == []


def test_limits_pages_and_browsers(server: FeedbackServer) -> None:
    assert call(server, b" " * (feedback.LARGEST_BODY + 1))[:2] == (413, "application/problem+json")
    assert call(server, LABEL, path="/other")[:2] == (404, "application/problem+json")
    assert call(server, "", method="GET")[:2] == (405, "application/problem+json")
    assert call(server, LABEL, Origin="http://evil.example")[:2] == (403, "application/problem+json")
    assert call(server, "", method="GET", path="/health") == (200, "application/json", {"status": "ok"})


def test_the_same_feedback_twice_is_one_vote(server: FeedbackServer, store: Store) -> None:  # noqa: F811
    for _ in range(2):
        call(server, f"{LABEL}\n{LABEL}\n{OUTCOME}")
    assert one(store, "select count(*) from labels") == one(store, "select count(*) from outcomes") == 1


def test_without_a_database_it_answers_503(tmp_path: Path, settings: Settings) -> None:  # noqa: F811
    server = serve(Store(f"postgresql://me@/x?host={tmp_path}"), settings)
    try:
        status, kind, problem = call(server, LABEL)
        assert (status, kind, problem["code"]) == (503, "application/problem+json", StoreUnavailable.code)
        assert call(server, "", method="GET", path="/health")[0] == 503
    finally:
        server.stop()


def test_it_stops_and_frees_its_port_and_says_when_one_is_taken(store: Store, settings: Settings) -> None:  # noqa: F811
    first = serve(store, settings)
    with pytest.raises(PortUnavailable):
        serve(store, settings, first.port)
    first.stop()
    second = serve(store, settings, first.port)
    assert call(second, LABEL)[0] == 202
    second.stop()


def test_a_file_is_read_as_lines(store: Store, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(f'{{"request_id": "r{i}", "label": "{i % 10}"}}\n' for i in range(12_000)))
    assert save(store, parse_file(path)) == 12_000
    assert one(store, "select count(*) from labels") == 12_000
    with pytest.raises(FeedbackInvalid, match="cannot be read"):
        parse_file(tmp_path / "none")
    with pytest.raises(FeedbackInvalid, match="cannot be read"):
        parse_file(Path("/proc/self/mem"))


def test_drift_is_reported_to_the_same_server(server: FeedbackServer, settings: Settings) -> None:  # noqa: F811
    said = {"model": "digits", "version": 2, "drift": True, "reason": "night pictures"}
    status, kind, answer = call(server, json.dumps(said), path="/drift")
    assert (status, kind) == (202, "application/json"), answer
    found = drift.read(settings, "digits")
    assert found is not None and (found.version, found.drift, found.reason) == (2, True, "night pictures")
    for changes, refused in (
        ({"version": 9}, (404, "VERSION_NOT_FOUND")),
        ({"model": "../digits"}, (404, "MODEL_NOT_FOUND")),
        ({"drift": "yes"}, (400, "DRIFT_INVALID")),
    ):
        status, kind, problem = call(server, json.dumps({**said, **changes}), path="/drift")
        assert (status, kind, problem["code"]) == (refused[0], "application/problem+json", refused[1])
    assert call(server, json.dumps(said), path="/drift", Origin="http://evil.example")[0] == 403
    assert drift.read(settings, "digits") == found
