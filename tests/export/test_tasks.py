"""The judges of the tasks: metric against a truth, agreement of answers as sets, and gate 3 over whole answers."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.gates.answers import judge_answers
from export.images import load_held_out
from export.metrics.base import once
from export.tasks.base import Judge
from export.tasks.registry import judge_of
from export.whole import Whole
from handlers.calls import only
from slipway.contract import Contract, Network, Part, Postprocess, Preprocess
from slipway.errors import SamplesInvalid
from slipway.spec import GatesSpec

NETWORK = Network("things.onnx", "onnx", "model.onnx")


def contract(task: str, labels: tuple[str, ...] = (), **more: Any) -> Contract:
    parts = (Part("one", NETWORK),) if task in ("faces", "ocr") else ()
    more.setdefault("postprocess", Postprocess(top_k=1))
    return Contract("things", task, Preprocess(32, 32), NETWORK, labels, parts=parts, **more)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def detections(boxes: list[list[float]], scores: list[float], labels: list[str]) -> dict[str, Any]:
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "scores": scores, "labels": labels}


CAT, DOG = [10.0, 10.0, 50.0, 40.0], [60.0, 20.0, 90.0, 80.0]


def test_detections_are_judged_by_overlap_and_class() -> None:
    judge = judge_of(contract("detection", ("cat", "dog")))
    truth = [{"boxes": [CAT, DOG], "labels": ["cat", "dog"]}, {"boxes": [], "labels": []}]
    right = [detections([DOG, CAT], [0.9, 0.8], ["dog", "cat"]), detections([], [], [])]
    swapped = [detections([DOG, CAT], [0.9, 0.8], ["cat", "dog"]), detections([], [], [])]
    assert once(judge.metric(truth, right)) == pytest.approx(1.0)
    assert once(judge.metric(truth, swapped)) == 0.0
    assert judge.agreement(right, right).share == 1.0
    assert judge.agreement(right, swapped).share == 0.0
    assert judge.certainty(right[0]) == pytest.approx(0.8) and judge.certainty(right[1]) == -1.0


def test_faces_need_no_labels() -> None:
    judge = judge_of(contract("faces"))
    found = [{"boxes": np.array([CAT], np.float32), "scores": [0.9]}]
    assert once(judge.metric([{"boxes": [CAT]}], found)) == pytest.approx(1.0)
    assert once(judge.metric([{"boxes": [DOG]}], found)) == 0.0


def test_texts_are_judged_by_edits_in_reading_order() -> None:
    judge = judge_of(contract("ocr"))
    quad = np.array([[[0, 0], [50, 0], [50, 10], [0, 10]], [[0, 20], [50, 20], [50, 30], [0, 30]]], np.float32)
    record = {"quads": quad, "texts": ["hello", "world"], "scores": [0.9, 0.7]}
    wrong = {**record, "texts": ["hello", "w0rld"]}
    assert once(judge.metric([{"texts": ["hello", "world"]}], [record])) == 0.0
    assert once(judge.metric([{"texts": ["hello", "world"]}], [wrong])) == pytest.approx(1 / 11)
    assert judge.agreement([record], [wrong]).share == 0.5 and judge.certainty(record) == pytest.approx(0.7)


def test_vectors_are_judged_by_their_neighbours() -> None:
    judge = judge_of(contract("embedding"))
    vectors = np.array([[1, 0.1], [1, 0], [0, 1], [0.1, 1]], np.float32)
    records = [{"embedding": vector} for vector in vectors]
    truth = [{"label": name} for name in ("a", "a", "b", "b")]
    assert once(judge.metric(truth, records)) == 1.0
    assert judge.agreement(records, records).share == 1.0
    assert judge.agreement(records, [records[2], *records[1:]]).share == 0.75


def test_label_maps_are_judged_by_pixels() -> None:
    judge = judge_of(contract("segmentation", ("ground", "thing")))
    half = np.zeros((8, 8), int)
    half[:4] = 1
    truth, record = [{"mask": png(half)}], [{"mask": png(half)}]
    assert once(judge.metric(truth, record)) == 1.0
    turned = [{"mask": png(half.T)}]
    assert once(judge.metric(truth, turned)) == pytest.approx(1 / 3)
    assert judge.agreement(record, turned).share == 0.5 and judge.certainty(record[0]) == 0.5


def test_several_labels_are_judged_by_f1() -> None:
    judge = judge_of(contract("classification", ("a", "b", "c"), postprocess=Postprocess("sigmoid", top_k=3)))
    record = {"labels": ("b", "a", "c"), "scores": np.array([0.9, 0.8, 0.1])}
    assert once(judge.metric([{"labels": ["a", "b"]}], [record])) == 1.0
    assert once(judge.metric([{"labels": ["a"]}], [record])) == pytest.approx(2 / 3)
    assert judge.agreement([record], [{**record, "scores": np.array([0.9, 0.2, 0.1])}]).share == 0.0


@pytest.mark.parametrize(
    ("judge", "truth"),
    [
        (judge_of(contract("detection", ("cat", "dog"))), [{"boxes": [CAT], "labels": ["cow"]}]),
        (judge_of(contract("detection", ("cat", "dog"))), [{"boxes": [CAT[:3]], "labels": ["cat"]}]),
        (judge_of(contract("detection", ("cat", "dog"))), [{"boxes": [], "labels": []}]),
        (judge_of(contract("ocr")), [{}]),
        (judge_of(contract("embedding")), [{"label": "a"}]),
        (judge_of(contract("segmentation", ("ground", "thing"))), [{"mask": png(np.zeros((3, 3)))}]),
        (judge_of(contract("classification", ("a", "b"))), [{"labels": ["z"]}]),
    ],
)
def test_a_truth_that_is_none_is_refused(judge: Judge, truth: list[dict[str, Any]]) -> None:
    record = {
        **detections([CAT], [0.9], ["cat"]),
        "texts": ["x"],
        "quads": np.zeros((1, 4, 2)),
        "embedding": np.ones(2),
        "mask": png(np.zeros((8, 8))),
    }
    if isinstance(truth[0].get("labels"), list) and truth[0]["labels"] == ["z"]:
        record["labels"] = ["a"]
    with pytest.raises(SamplesInvalid):
        judge.metric(truth, [record])


@pytest.fixture
def vectors(tmp_path: Path) -> Whole:
    """Four photographs of two kinds, embedded by their mean colour."""
    generator = np.random.default_rng(3)
    for number in range(12):
        colour = (200, 40, 40) if number % 2 else (40, 40, 200)
        noise = generator.integers(-30, 30, (20, 24, 3))
        (tmp_path / f"{number:02d}.png").write_bytes(png(np.clip(np.array(colour) + noise, 0, 255)))
    kinds = {f"{number:02d}.png": {"label": "red" if number % 2 else "blue"} for number in range(12)}
    (tmp_path / "truth.json").write_text(json.dumps(kinds))
    spec = replace(contract("embedding"), handler="handlers.embedding:Embedding", settings={})
    gates = GatesSpec.model_validate({"task": {"minimum": 0.9, "accept_undecided": True}})
    return Whole(spec, gates, load_held_out(tmp_path, ()), only(_mean_colour, spec))


def _mean_colour(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)


def test_the_same_network_passes(vectors: Whole) -> None:
    result = judge_answers(vectors, vectors.networks, "onnx")
    assert result.passed and result.measured["metric"] == "recall@1", result.reason
    assert result.measured["exported"] == result.measured["trained"] == 1.0


def test_a_network_that_tells_nothing_apart_is_refused(vectors: Whole) -> None:
    def alike(pixels: np.ndarray) -> np.ndarray:
        return np.ones((len(pixels), 3), np.float32)

    result = judge_answers(vectors, only(alike, vectors.contract), "onnx")
    assert not result.passed and "below 0.9" in str(result.reason)


def test_nan_is_the_pipelines_failure(vectors: Whole) -> None:
    broken = only(lambda pixels: np.full((len(pixels), 3), np.nan, np.float32), vectors.contract)
    result = judge_answers(vectors, broken, "onnx")
    assert not result.passed and "NaN" in str(result.reason)


def test_without_a_truth_agreement_is_judged_where_that_is_accepted(vectors: Whole) -> None:
    unknown = replace(vectors, held_out=replace(vectors.held_out, truth={}))
    refused = judge_answers(unknown, unknown.networks, "onnx")
    assert not refused.passed and "truth.json" in str(refused.reason)
    accepting = GatesSpec.model_validate({"task": {"accept_unlabelled": True}})
    accepted = judge_answers(replace(unknown, gates=accepting), unknown.networks, "onnx")
    assert accepted.passed and accepted.measured["agreement"] == 1.0


@pytest.mark.parametrize("text", ["[", '{"a.png": 3}', '{"nowhere.png": {}}', '{"00.png": {"mask": "nowhere.png"}}'])
def test_a_damaged_truth_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "00.png").write_bytes(png(np.zeros((4, 4, 3))))
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(SamplesInvalid, match=r"truth\.json"):
        load_held_out(tmp_path, ("a",))
