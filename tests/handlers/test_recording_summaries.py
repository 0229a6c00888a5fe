"""Summaries of every task's answers: what is in them, and that they are bounded. Pipelines are real."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.calls import InProcess
from handlers.ocr import OcrResult
from handlers.pipeline import Pipeline
from handlers.recording.encode import encoded
from handlers.recording.summaries import MOST_BYTES, TooLarge, form_of
from slipway.contract import Attribute, Contract, Network, Postprocess, Preprocess
from slipway.errors import ImageError
from tests.handlers import faces_model
from tests.handlers import test_detection as objects
from tests.handlers import test_segmentation as areas
from tests.handlers.pictures import encode, picture, read
from tests.serving import dominant_colour

COFFEE = read("coffee.png")


def single(task: str, labels: tuple[str, ...] = (), **values: Any) -> Contract:
    values = {"postprocess": Postprocess(top_k=max(1, len(labels))), **values}
    return Contract(
        model="any",
        task=task,
        preprocess=Preprocess(32, 32, resize="stretch", resize_to=32),
        network=Network("any.onnx", "onnx", "model.onnx", max_batch_size=4),
        labels=labels,
        handler=f"handlers.{task}:{task.capitalize()}",
        **values,
    )


def summary(pipeline: Pipeline, image: bytes, **parameters: Any) -> dict[str, Any]:
    (answer,) = pipeline.run([image], parameters)
    assert not isinstance(answer, ImageError)
    summarise = form_of(pipeline.contract)
    assert summarise is not None
    found = summarise(answer)
    assert json.loads(encoded({"index": 0, "summary": found}))["summary"] == found
    return found


def test_classification() -> None:
    many = single("classification", tuple(f"label {n}" for n in range(40)))
    row = np.arange(40, dtype=np.float32)[None] / 4
    found = summary(Pipeline(many, lambda pixels: row), COFFEE)
    assert [label for label, _ in found["top"]] == [f"label {n}" for n in (39, 38, 37, 36, 35)]
    assert found["label"] == "label 39" and found["score"] == found["top"][0][1] == pytest.approx(0.2212, abs=1e-4)
    nothing = summary(Pipeline(many, lambda pixels: row), COFFEE, score_threshold=0.9)
    assert nothing == {"label": None, "score": None, "top": []}


def test_several_labels() -> None:
    sigmoid = Postprocess("sigmoid", top_k=4, score_threshold=0.5)
    several = single("classification", tuple("abcd"), postprocess=sigmoid)
    row = np.array([[4, -4, 1, -1]], np.float32)
    found = summary(Pipeline(several, lambda pixels: row), COFFEE)
    assert found == {"labels": [["a", 0.98201], ["c", 0.73106]]}


def test_detection() -> None:
    colours = Pipeline(objects.contract(), objects.colours)
    image = objects.signs(picture())
    (answer,) = colours.run([image])
    found = summary(colours, image)
    record = answer.record()  # type: ignore[union-attr]
    assert found["count"] == len(record["boxes"]) == len(found["boxes"])
    assert found["labels"] == list(record["labels"]) == list(objects.LABELS)
    assert np.allclose(np.reshape(found["boxes"], (-1, 4)), record["boxes"], atol=0.006)


def test_detection_keeps_the_best_hundred() -> None:
    corners = np.arange(120, dtype=np.float32)[:, None] * [1, 1, 1, 1] + [0, 0, 1, 1]
    row = np.concatenate([corners, np.full((120, 3), -9), np.zeros((120, 0))], axis=1).astype(np.float32)
    row[:, 4] = np.linspace(0.99, 0.5, 120)
    contract = objects.contract(max_detections=200, iou_threshold=0.99)
    found = summary(Pipeline(contract, lambda pixels: row[None]), encode(picture().resize((128, 128)), "PNG"))
    assert found["count"] == 120 and len(found["boxes"]) == len(found["scores"]) == len(found["labels"]) == 100
    assert found["scores"] == sorted(found["scores"], reverse=True)


def test_faces_with_attributes() -> None:
    pipeline, _ = faces_model.pipeline([faces_model.brightness()])
    found = summary(pipeline, read("astronaut.png"))
    assert found.keys() == {"count", "boxes", "scores"} and found["count"] == len(found["boxes"]) == 1
    assert 0.9 < found["scores"][0] <= 1


def test_text() -> None:
    summarise = form_of(replace(faces_model.contract(), task="ocr"))
    assert summarise is not None

    def read_as(*texts: str) -> dict[str, Any]:
        return summarise(OcrResult(np.zeros((len(texts), 4, 2), np.float32), texts, np.ones(len(texts), np.float32)))

    assert read_as("one", "zwei ß") == {"text": "one\nzwei ß", "lines": 2}
    assert read_as() == {"text": "", "lines": 0}
    with pytest.raises(TooLarge):
        read_as(*["x" * 100] * 200)


def test_embedding(tmp_path: Path) -> None:
    found = summary(Pipeline(single("embedding"), lambda pixels: np.array([[3, 4]], np.float32)), COFFEE)
    assert np.frombuffer(base64.b64decode(found["vector"]), "<f2") == pytest.approx([0.6, 0.8], abs=1e-3)
    wide = Pipeline(single("embedding"), lambda pixels: np.ones((1, MOST_BYTES), np.float32))
    with pytest.raises(TooLarge):
        summary(wide, COFFEE)


@pytest.mark.parametrize("size", [(200, 100), (64, 64), (33, 700), (20, 20)])
@pytest.mark.parametrize("encoding", ["png", "rle"])
def test_segmentation(size: tuple[int, int], encoding: str) -> None:
    image, _ = areas.signs(size)
    pipeline = Pipeline(areas.contract("stretch"), areas.colours)
    (answer,) = pipeline.run([encode(image, "PNG")])
    found = summary(pipeline, encode(image, "PNG"), encoding=encoding)
    whole = answer.map  # type: ignore[union-attr]
    grid = np.frombuffer(base64.b64decode(found["grid"]), np.uint8).reshape(64, 64)
    for row, column in ((0, 0), (13, 40), (63, 63), (32, 5)):
        assert grid[row, column] == whole[int((row + 0.5) * size[1] / 64), int((column + 0.5) * size[0] / 64)]
    shares = {name: float((whole == number).mean()) for number, name in enumerate(areas.LABELS)}
    assert found["areas"] == pytest.approx({name: share for name, share in shares.items() if share}, abs=1e-4)


def test_segmentation_with_attributes_is_of_the_map_alone() -> None:
    own = replace(single("classification", ("dark", "light")), network=Network("l", "onnx", "model.onnx"))
    contract = replace(areas.contract(), attributes=(Attribute("light", "image", own),))
    runs = {"network": areas.colours, "attributes/light": faces_model.is_light}
    image, _ = areas.signs()
    found = summary(Pipeline(contract, InProcess(runs, contract)), encode(image, "PNG"))
    assert found.keys() == {"areas", "grid"}


def test_a_task_without_a_form_has_none() -> None:
    assert form_of(replace(dominant_colour.contract("x"), task="archive", labels=())) is None
