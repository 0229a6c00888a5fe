"""experiment.json: what is read as it was written, and that anything else is one kind of error."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import experiment
from slipway.errors import ExperimentInvalid
from slipway.experiment import Arm, Experiment, Layer, Shadow

GOOD = Experiment(
    "m", "m-1", "salt", stable=1, arms=(Arm(2, 0, 1000),), shadow=Shadow(3), allow={"qa": 2}, layer=Layer("page", 0, 5)
)


def changed(**values: Any) -> str:
    return json.dumps({**GOOD.to_dict(), **values})


#: What may lie in the file, by what is wrong with it.
DAMAGE: dict[str, str | bytes] = {
    "empty": "",
    "a list": "[]",
    "null": "null",
    "a text": '"x"',
    "cut": changed()[:-9],
    "not UTF-8": b'{"model": "\xff"}',
    "too deep": "[" * 100_000,
    "nothing in it": "{}",
    "unknown field": changed(more=1),
    "another model's": changed(model="other"),
    **{
        f"{name}: {value!r}": changed(**{name: value})
        for name, values in {
            "id": ["", "a\nb", 1, None],
            "salt": [None, ""],
            "stable": ["1", 0, True, 1.5, None],
            "arms": [{}, None, [1], [{"version": 2, "start": "0", "width": 1}], [{"version": 2, "start": 0}]],
            "shadow": [3, {"version": 3, "concurrency": -1}, {"version": 3, "buckets": 10_001}],
            "units": ["header:x", ["x-unit-id"], ["header:"], [1]],
            "override": [None, "", "two words"],
            "allow": [[1], {"u": "two"}, {"u": None}, {"u": -1}],
            "layer": [{"name": None}, {"name": "page", "start": 5_000, "width": 6_000}, "page"],
            "record": ["x", -1, 10_001, None],
            "compare": ["x", -1],
            "compare_concurrency": [-1, 0, 1e30],
            "keep_images": ["yes", 1],
            "fallback": [0, None],
            "try_timeout": ["10", 0, -1, 1e9, float("nan")],
        }.items()
        for value in values
    },
    "arms overlap": changed(arms=[{"version": 2, "start": 0, "width": 9}, {"version": 3, "start": 8, "width": 9}]),
}


@pytest.fixture(params=DAMAGE)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    content = DAMAGE[request.param]
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for found in (GOOD, replace(GOOD, shadow=None, layer=None, arms=(), try_timeout=3)):
        experiment.write(tmp_path, found)
        assert experiment.read(tmp_path, "m") == found
    experiment.remove(tmp_path, "m")
    assert experiment.read(tmp_path, "m") is None


def test_what_cannot_be_followed_is_invalid(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    (tmp_path / "m").mkdir()
    damage(experiment.path_of(tmp_path, "m"))
    with pytest.raises(ExperimentInvalid):
        experiment.read(tmp_path, "m")


def test_a_folder_in_its_place_is_invalid_and_is_removed(tmp_path: Path) -> None:
    (experiment.path_of(tmp_path, "m") / "inside").mkdir(parents=True)
    with pytest.raises(ExperimentInvalid):
        experiment.read(tmp_path, "m")
    experiment.remove(tmp_path, "m")
    assert experiment.read(tmp_path, "m") is None


def test_what_cannot_be_followed_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(ExperimentInvalid):
        experiment.write(tmp_path, replace(GOOD, compare_concurrency=-1))
    assert experiment.read(tmp_path, "m") is None
