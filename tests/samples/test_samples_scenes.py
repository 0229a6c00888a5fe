"""Scenes: held-out digits and photographs, a truth that fits, a detector that is good, repeats and exports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from export.metrics.base import once
from export.metrics.detection import Boxes, average_precision
from export.wrap import eager_network, wrap
from handlers.boxes import overlaps
from handlers.detection import DetectionResult
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from samples.registry import prepare
from samples.scenes.files import LABELS, SPLITS, TRUTH, scenes, write_scenes
from samples.scenes.grounds import PHOTOS
from samples.scenes.ink import scans
from samples.scenes.learning import targets
from samples.scenes.network import STRIDE, build
from samples.scenes.plan import MEAN, PREPROCESS, STD, Training, train
from samples.scenes.scene import MOST_COVERED
from samples.scenes.training import fit
from slipway.contract import Contract
from slipway.files import sha256_file
from slipway.settings import Settings
from slipway.spec import ModelSpec

ROOT = Path(__file__).parents[2]
Found = tuple[list[Boxes], list[Boxes]]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The project's own files: made in the first run only, in about three minutes, and left."""
    return prepare("scenes", Settings(root=ROOT)).folder


@pytest.fixture(scope="module")
def contract() -> Contract:
    return ModelSpec.load(ROOT / "config" / "models" / "scenes.yaml").contract(ROOT)


@pytest.fixture(scope="module")
def network(folder: Path, contract: Contract) -> nn.Module:
    """The trained detector with its normalisation, uint8[N, 416, 416, 3] -> float32[N, places, 14]."""
    module = build()
    module.load_state_dict(load_file(folder / "detector.safetensors"))
    return wrap(module, contract.normalise)


@pytest.fixture(scope="module")
def detect(network: nn.Module, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """What is served, with the network as ONNX and a dynamic batch."""
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    torch.onnx.export(
        network,
        (torch.from_numpy(_pixels(2)),),
        path,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch", min=1, max=64)}},
        external_data=False,
        verbose=False,
    )
    return Pipeline(contract, open_network(path))


def answered(detect: Pipeline, folder: Path, **parameters: object) -> Found:
    """Truth and answers of every file in a folder."""
    truth = json.loads((folder / TRUTH).read_text())
    wanted, found = [], []
    for name, objects in truth.items():
        corners = np.array(objects["boxes"], np.float32).reshape(-1, 4)
        wanted.append(Boxes(corners, np.array([LABELS.index(label) for label in objects["labels"]], int)))
        (result,) = detect.run([(folder / name).read_bytes()], parameters)
        assert isinstance(result, DetectionResult)
        classes = np.array([LABELS.index(label) for label in result.labels], int)
        found.append(Boxes(result.boxes, classes, result.scores))
    return wanted, found


def recall(answers: Found) -> float:
    """How many of the true boxes have a detection of their class that overlaps by half."""
    hits = [
        ((overlaps(wanted.corners, found.corners) >= 0.5) & (wanted.classes[:, None] == found.classes)).any(axis=1)
        for wanted, found in zip(*answers, strict=True)
    ]
    return float(np.concatenate(hits).mean())


def above(answers: Found, threshold: float) -> Found:
    """What a request with this threshold is answered: lower scores never suppress higher ones."""
    kept = [
        Boxes(found.corners[found.scores >= threshold], found.classes[found.scores >= threshold])
        for found in answers[1]
        if found.scores is not None
    ]
    return answers[0], kept


def test_held_out_scenes_reach_map_50_of_90_percent_and_tiles_lose_nothing(detect: Pipeline, folder: Path) -> None:
    every = answered(detect, folder / "test", score_threshold=0.02)
    assert once(average_precision(*every, [0.5])) >= 0.90
    stated = json.loads((folder / "detector.json").read_text())["facts"]
    assert once(average_precision(*every, [0.5])) == pytest.approx(stated["map50"], abs=0.01)
    served = recall(above(every, detect.task.options({}).score_threshold))
    assert served >= 0.90
    big = answered(detect, folder / "big")
    assert recall(big) >= served, "as many of the small objects in a 4000x3000 picture as in a 416x416 one"
    assert once(average_precision(*big, [0.5])) >= 0.90, "and not by answering more"
    assert recall(answered(detect, folder / "big", tile=False)) < 0.1, "which is what tiles are for"


def test_scenes_are_those_that_the_record_says_and_show_what_the_truth_says(folder: Path) -> None:
    for split, plan in SPLITS.items():
        truth = json.loads((folder / split / TRUTH).read_text())
        assert len(truth) == plan.scenes == len(list((folder / split).glob("*.jpg")))
        for name, objects in list(truth.items())[:20]:
            with Image.open(folder / split / name) as image:
                assert image.size == plan.plan.size
                boxes = np.array(objects["boxes"]).reshape(-1, 4)
            heights = boxes[:, 3] - boxes[:, 1]
            assert len(boxes) == len(objects["labels"]) <= plan.plan.digits[1]
            assert ((heights >= 20) & (heights <= 64)).all()
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= plan.plan.size).all()
            assert set(objects["labels"]) <= set(LABELS)


def test_no_box_covers_another_by_more_than_allowed() -> None:
    for drawn in (next(scenes("test")), next(scenes("calibration"))):
        low = np.maximum(drawn.boxes[:, None, :2], drawn.boxes[None, :, :2])
        sides = np.clip(np.minimum(drawn.boxes[:, None, 2:], drawn.boxes[None, :, 2:]) - low, 0, None)
        area = np.prod(drawn.boxes[:, 2:] - drawn.boxes[:, :2], axis=1)
        covered = np.prod(sides, axis=2) / np.minimum(area[:, None], area[None, :])
        np.fill_diagonal(covered, 0)
        assert covered.max() <= MOST_COVERED + 1e-6


def test_held_out_scenes_share_no_scan_and_no_photograph_with_the_trained_on() -> None:
    drawings = [{ink.tobytes() for _, ink in scans(split)} for split in ("train", "test")]
    assert not drawings[0] & drawings[1]
    assert not set(PHOTOS["train"]) & set(PHOTOS["test"])
    assert {plan.source for split, plan in SPLITS.items() if split != "calibration"} == {"test"}


def test_scenes_are_the_same_bytes_again(tmp_path: Path) -> None:
    first, second = (write_scenes("calibration", tmp_path / name) for name in ("first", "second"))
    assert [sha256_file(path) for path in first] == [sha256_file(path) for path in second]


def test_training_twice_gives_identical_weights_and_the_finished_one_is_spared(folder: Path) -> None:
    first, second = (fit(Training(steps=2, batch_size=4), lambda done: None).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert train(folder / "detector.safetensors").reused


def test_every_digit_has_a_place_that_answers_for_it() -> None:
    for drawn in (next(scenes("test")), next(scenes("calibration"))):
        classes, wanted = targets(drawn.boxes, drawn.labels, 416)
        for box, label in zip(drawn.boxes, drawn.labels, strict=True):
            answers = (wanted == box).all(axis=1)
            assert answers.any()
            assert (classes[answers] == label).all()
        assert ((classes >= 0) == wanted.any(axis=1)).all()


@pytest.mark.parametrize("sides", [(416, 416), (208, 320)])
def test_network_answers_boxes_and_probabilities_for_any_size(sides: tuple[int, int]) -> None:
    height, width = sides
    rows = build(4).eval()(torch.randn(2, 3, height, width))
    assert rows.shape == (2, height // STRIDE * (width // STRIDE), 14)
    assert ((rows[..., 4:] > 0) & (rows[..., 4:] < 1)).all()
    assert (rows[..., 2:4] > rows[..., :2]).all()


def test_network_exports_with_a_dynamic_batch(network: nn.Module, detect: Pipeline) -> None:
    one, two, three = (torch.from_numpy(_pixels(count)) for count in (1, 2, 3))
    wanted = network(three)
    assert torch.allclose(torch.jit.trace(network, one)(three), wanted, atol=1e-3)
    shapes = {"pixels": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(network, (two,), dynamic_shapes=shapes)
    assert torch.allclose(program.module()(three), wanted, atol=1e-3)
    files = [_jpeg(pixels) for pixels in three.numpy()]
    served, trained = detect.run(files), Pipeline(detect.contract, eager_network(network)).run(files)
    for found, expected in zip(served, trained, strict=True):
        assert isinstance(found, DetectionResult)
        assert isinstance(expected, DetectionResult)
        assert found.labels == expected.labels
        assert np.abs(found.boxes - expected.boxes).max(initial=0) < 0.01, "pixels"
        assert np.abs(found.scores - expected.scores).max(initial=0) < 1e-4


def _jpeg(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


@cache
def _pixels(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([drawn.pixels for drawn, _ in zip(scenes("test"), range(count), strict=False)])


def test_spec_agrees_with_training() -> None:
    spec = ModelSpec.load(ROOT / "config" / "models" / "scenes.yaml")
    contract = spec.contract(ROOT)
    assert contract.preprocess == replace(PREPROCESS, resize_to=416), "which a letterbox does not read"
    assert contract.labels == LABELS
    assert (set(contract.normalise.mean), set(contract.normalise.std)) == ({MEAN}, {STD})
    assert contract.normalise.scale == 255.0
    assert spec.one_source.arguments == {"width": Training().width}
    assert contract.settings["max_detections"] >= SPLITS["big"].plan.digits[1]
