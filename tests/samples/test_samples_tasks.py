"""Vectors, strokes and groups: pictures with their truth, trainings that repeat to the byte, networks that are good."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.masks import from_png
from samples.digits import images
from samples.digits.training import MEAN, STD
from samples.groups import plan as groups
from samples.groups.network import build as groups_network
from samples.strokes import plan as strokes
from samples.strokes.network import build as strokes_network
from samples.strokes.picture import Plan, draw
from samples.vectors import plan as vectors
from samples.vectors.network import build as vectors_network
from slipway.files import sha256_file
from slipway.spec import ModelSpec

ROOT = Path(__file__).parents[2]
#: Name, its plan, how its training is made short, the fact that says how good it is, and how good it has to be.
SAMPLES: list[tuple[str, Any, dict[str, int], str, float]] = [
    ("vectors", vectors, {"epochs": 1}, "recall_at_1", 0.98),
    ("strokes", strokes, {"steps": 3}, "mean_iou", 0.70),
    ("groups", groups, {"steps": 3}, "mean_average_precision", 0.98),
]
NETWORKS = [
    (vectors_network, (3, 32, 32), (64,)),
    (strokes_network, (3, 96, 96), (11, 48, 48)),
    (groups_network, (3, 64, 64), (10,)),
]


@pytest.mark.parametrize(("build", "inputs", "outputs"), NETWORKS)
def test_networks_trace_and_export_with_any_batch(
    build: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    module, one, five = build(width=8).eval(), torch.rand(1, *inputs), torch.rand(5, *inputs)
    with torch.inference_mode():
        expected = module(five)
    assert expected.shape == (5, *outputs)
    traced = torch.jit.trace(module, one)
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(module, (torch.rand(2, *inputs),), dynamic_shapes=batch).module()
    for converted in (traced, exported):
        assert torch.allclose(converted(five), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "plan", "short", "fact", "least"), SAMPLES)
def test_full_trainings_are_good(name: str, plan: Any, short: Any, fact: str, least: float) -> None:
    made = plan.train(ROOT / "var" / "samples" / name / f"{name}.safetensors")  # about a minute of the first run only
    assert made.facts[fact] >= least


@pytest.mark.parametrize(("name", "plan", "short", "fact", "least"), SAMPLES)
def test_training_twice_gives_identical_bytes(
    tmp_path: Path, name: str, plan: Any, short: dict[str, int], fact: str, least: float
) -> None:
    first = plan.train(tmp_path / "first.safetensors", **short)
    torch.rand(100)  # whatever ran before must not matter
    second = plan.train(tmp_path / "second.safetensors", **short)
    assert not first.reused and not second.reused
    assert sha256_file(first.files[0]) == sha256_file(second.files[0])
    assert first.facts == second.facts
    assert plan.train(tmp_path / "first.safetensors", **short).reused


@pytest.mark.parametrize("plan", [strokes, groups])
def test_specifications_agree_with_trainings(plan: ModuleType) -> None:
    spec = ModelSpec.load(ROOT / "config" / "models" / f"{plan.__name__.split('.')[1]}.yaml")
    contract = spec.contract(ROOT)
    assert contract.preprocess == plan.PREPROCESS
    assert contract.labels == plan.LABELS
    assert (set(contract.normalise.mean), set(contract.normalise.std)) == ({plan.MEAN}, {plan.STD})
    assert spec.source is not None and spec.source.arguments == {"width": plan.Training().width}


def test_vectors_are_specified_as_trained() -> None:
    spec = ModelSpec.load(ROOT / "config" / "models" / "vectors.yaml")
    contract, training = spec.contract(ROOT), vectors.Training()
    assert contract.preprocess == images.PREPROCESS
    assert (set(contract.normalise.mean), set(contract.normalise.std)) == ({MEAN}, {STD})
    assert contract.settings == {"normalise": "l2", "dimension": training.dimension}
    assert spec.source is not None
    assert spec.source.arguments == {"width": training.width, "dimension": training.dimension}


def test_groups_are_named_at_the_threshold_that_was_measured() -> None:
    contract = ModelSpec.load(ROOT / "config" / "models" / "groups.yaml").contract(ROOT)
    assert contract.postprocess.score_threshold == groups.SCORE_THRESHOLD
    assert contract.postprocess.activation == "sigmoid"


def test_pictures_hold_what_they_say() -> None:
    plan = Plan((150, 120), (2, 4), (0.2, 0.4))
    drawn, again = (draw(plan, "test", np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(drawn.pixels, again.pixels) and np.array_equal(drawn.mask, again.mask)
    assert drawn.pixels.shape == (120, 150, 3) and drawn.mask.shape == (120, 150)
    assert set(np.unique(drawn.mask)) == {0, *(digit + 1 for digit in drawn.digits)}
    ink = drawn.pixels[drawn.mask > 0].mean()
    assert ink + 40 < drawn.pixels[drawn.mask == 0].mean(), "dark ink"
    for digit, (x, y) in zip(drawn.digits, drawn.centres, strict=True):
        assert digit + 1 in drawn.mask[int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12]


def truth_of(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    import_module(f"samples.{name}.files").write(folder)
    truth: dict[str, dict[str, Any]] = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    pictures = {path.name for path in folder.iterdir() if path.suffix in (".png", ".jpg")}
    assert set(truth) == pictures
    assert {Path(picture).suffix for picture in pictures} == {".png", ".jpg"}
    return truth


def test_masks_lie_beside_the_pictures(tmp_path: Path) -> None:
    truth = truth_of("strokes", tmp_path)
    seen = set()
    for name, entry in truth.items():
        mask = from_png((tmp_path / entry["mask"]).read_bytes())
        with Image.open(tmp_path / name) as picture:
            assert picture.size == mask.shape[::-1]
        seen |= set(np.unique(mask).tolist())
    assert seen == set(range(len(strokes.LABELS)))


def test_groups_name_their_digits(tmp_path: Path) -> None:
    truth = truth_of("groups", tmp_path)
    counts = [len(entry["labels"]) for entry in truth.values()]
    assert set(counts) <= {1, 2, 3}, "two of a kind are one label"
    assert {label for entry in truth.values() for label in entry["labels"]} == set(groups.LABELS)


def test_vectors_name_their_digit(tmp_path: Path) -> None:
    truth = truth_of("vectors", tmp_path)
    assert len(truth) == 901
    assert all(name.startswith(f"{entry['label']}_") for name, entry in truth.items())
