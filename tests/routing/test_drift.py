"""Reports of drift as files: what is taken, and that anything else is said and never raised as something else."""

import json
import time

import pytest

from routing import drift
from routing.drift import DriftReport
from slipway.errors import DriftInvalid
from slipway.settings import Settings
from tests.routing.rollout.conftest import settings  # noqa: F401


def written(settings: Settings, content: str | bytes) -> DriftReport | None:  # noqa: F811
    path = drift.path_of(settings, "digits")
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return drift.read(settings, "digits")


def test_a_report_of_the_version_since_then_says_why(settings: Settings) -> None:  # noqa: F811
    assert drift.read(settings, "digits") is None
    found = written(settings, '{"version": 2, "drift": true, "reason": "night pictures", "time": 1000}')
    assert found is not None
    assert found.of(2, since=999.0) == "night pictures"
    assert (found.of(2, since=1000.0), found.of(3, since=999.0)) == (None, None)
    assert DriftReport(version=2, drift=True, time=1.0).of(2, 0.0) == "no reason was given"
    assert DriftReport(version=2, drift=False, time=1.0).of(2, 0.0) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object"),
        ('{"drift": true, "time": 1}', "version"),
        ('{"version": "2", "drift": true, "time": 1}', "version"),
        ('{"version": 0, "drift": true, "time": 1}', "version"),
        ('{"version": 2, "drift": 1, "time": 1}', "drift"),
        ('{"version": 2, "drift": true}', "time"),
        ('{"version": 2, "drift": true, "time": NaN}', "time"),
        (json.dumps({"version": 2, "drift": True, "time": time.time() + 3600}), "future"),
        ('{"version": 2, "drift": true, "time": 1, "reason": "\\ud800"}', "reason"),
        ('{"version": 2, "drift": true, "time": 1, "why": "x"}', "why"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(settings: Settings, content: str | bytes, reason: str) -> None:  # noqa: F811
    with pytest.raises(DriftInvalid, match=reason):
        written(settings, content)


def test_a_folder_in_its_place_is_no_report(settings: Settings) -> None:  # noqa: F811
    drift.path_of(settings, "digits").mkdir(parents=True)
    with pytest.raises(DriftInvalid, match="cannot be read"):
        drift.read(settings, "digits")


@pytest.mark.parametrize("body", [b"5", b"{}", b'{"model": 5, "version": 2, "drift": true}', b'{"model": "digits"}'])
def test_a_report_without_its_parts_is_refused(settings: Settings, body: bytes) -> None:  # noqa: F811
    with pytest.raises(DriftInvalid):
        drift.take(settings, body)
    assert drift.read(settings, "digits") is None
