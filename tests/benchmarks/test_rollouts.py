"""Flawed versions fail as they say and where they say; what a report counts is what happened."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.rollouts.chaos import of_assignment
from benchmarks.rollouts.flaws import FLAWS, publish_flawed
from benchmarks.rollouts.run import Options
from benchmarks.rollouts.scenarios import exposures
from benchmarks.rollouts.traffic import Asked, labelled_images
from benchmarks.rollouts.weights import judge_change
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from routing.assignment import assign
from slipway.errors import BenchmarkFailed, ImageError, NetworkFailed
from slipway.experiment import Arm, Experiment
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, photograph, publish

IMAGES = 200


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("flaws")
    found = Repository(root / "repository")
    found.path.mkdir()
    publish(found, root / "scratch", Recipe())
    return found


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Pieces of a photograph, all different."""
    photo, rng, pieces = Image.open(io.BytesIO(photograph())).convert("RGB"), np.random.default_rng(7), []
    for _ in range(IMAGES):
        left, top = int(rng.integers(0, photo.width - 64)), int(rng.integers(0, photo.height - 64))
        made = io.BytesIO()
        photo.crop((left, top, left + 64, top + 64)).save(made, "PNG")
        pieces.append(made.getvalue())
    return pieces


def answers(repository: Repository, version: int, images: Sequence[bytes]) -> list[object]:
    """Label of each image, or the error that it got alone."""
    contract = repository.contract("colour", version)
    file = repository.path / contract.network.model / str(version) / contract.network.file
    pipeline, found = Pipeline(contract, open_networks({"network": file}, contract)), []
    for image in images:
        try:
            result = pipeline.run([image])[0]
        except NetworkFailed as problem:
            result = problem
        found.append(result if isinstance(result, (ImageError, NetworkFailed)) else result.record()["labels"][0])
    return found


def struck(repository: Repository, name: str, pictures: Sequence[bytes]) -> list[tuple[object, object]]:
    """(sound, flawed) answers of the images that a flaw changed; the golden image is none of them."""
    version = publish_flawed(repository, "colour", 1, FLAWS[name])
    golden = (repository.version_dir("colour", version) / "golden" / "input.png").read_bytes()
    assert answers(repository, version, [golden]) == answers(repository, 1, [golden])
    assert repository.pointer("colour").stable == 1
    assert repository.verify("colour", version).source["flaw"] == name
    pairs = zip(answers(repository, 1, pictures), answers(repository, version, pictures), strict=True)
    return [pair for pair in pairs if pair[0] != pair[1]]


@pytest.mark.parametrize("name", ["errors", "nan"])
def test_one_image_in_five_fails(repository: Repository, pictures: list[bytes], name: str) -> None:
    found = struck(repository, name, pictures)
    assert IMAGES * 0.1 < len(found) < IMAGES * 0.32
    assert all(isinstance(flawed, (NetworkFailed, ImageError)) for _, flawed in found)


def test_one_image_in_32_gets_the_next_class(repository: Repository, pictures: list[bytes]) -> None:
    found = struck(repository, "inaccurate", pictures)
    assert 0 < len(found) < IMAGES * 0.1
    assert all(isinstance(flawed, str) and flawed != sound for sound, flawed in found)


def test_the_slow_one_answers_rightly(repository: Repository, pictures: list[bytes]) -> None:
    assert struck(repository, "slow", pictures[:20]) == []


def test_an_answer_of_the_canary_to_a_unit_of_the_stable_version_is_seen() -> None:
    experiment = Experiment("m", "m-1", "salt", stable=1, arms=(Arm(2, 0, 1000),))
    ids = [f"unit-{n}" for n in range(200)]
    mine = next(unit for unit in ids if assign(experiment, unit).version == 2)
    other = next(unit for unit in ids if assign(experiment, unit).version == 1)
    wider = replace(experiment, arms=(Arm(2, 0, 5000),))
    later = next(unit for unit in ids if (assign(experiment, unit).version, assign(wider, unit).version) == (1, 2))
    assert of_assignment(experiment, 0.1, 2, mine) and of_assignment(experiment, 0.1, 1, mine)
    assert not of_assignment(experiment, 0.1, 2, other) and not of_assignment(experiment, 0.1, 2, later)
    assert of_assignment(experiment, 0.5, 2, later) and not of_assignment(experiment, 0.5, 3, mine)


def test_a_change_is_in_force_after_the_last_request_with_the_old_weights() -> None:
    experiment = Experiment("m", "m-1", "salt", stable=1, arms=(Arm(2, 0, 2000),))
    mine = [unit for unit in (f"unit-{n}" for n in range(200)) if assign(experiment, unit).version == 2]
    asked = [
        Asked("http", 9.9, 10.0, id=mine[0], version=1),
        Asked("http", 10.2, 10.3, id=mine[1], version=1),
        Asked("http", 10.25, 10.3, id=mine[2], version=2),
        Asked("grpc", 10.5, 10.6, id=mine[3], version=2),
        Asked("grpc", 10.6, 10.7, id=mine[4], error="no"),
        Asked("grpc", 12.0, 12.1, id=mine[5], version=1),
    ]
    found = judge_change(10.0, experiment, 11.0, asked)
    assert (found.share, found.requests, found.failed) == (0.2, 4, 1)
    assert found.seconds == pytest.approx(0.2)
    assert 0 < found.units <= 3


def test_a_half_written_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    rows = [{"experiment": "e", "n": 1}, {"experiment": None, "n": 2}, {"experiment": "e", "n": 3}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "logs" / "edge-access.jsonl").write_text(text + '{"experiment": "e", "n"')
    assert [row["n"] for row in exposures(tmp_path, "e")] == [1, 3]


def test_labels_come_from_names_and_wrong_ones_are_seen(tmp_path: Path) -> None:
    (tmp_path / "7_0001.png").write_bytes(b"x")
    assert labelled_images(tmp_path)[0].truth == "7"
    assert Asked("http", 0, 1, version=1, label="3", truth="7").wrong
    assert not Asked("http", 0, 1, version=1, label="7", truth="7").wrong
    assert not Asked("http", 0, 1, error="no", truth="7").wrong


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(BenchmarkFailed, match="no such scenario"):
        Options(("good", "evil"))
