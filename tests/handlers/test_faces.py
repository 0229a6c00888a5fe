"""Faces from encoded pictures: 1, 3, 40 and none, in every orientation, in 20 megapixels, with what describes them."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from handlers.alignment import TEMPLATE, to_template
from handlers.boxes import overlaps
from handlers.faces import Faces, FacesResult
from handlers.fields import pack, plain, unpack
from handlers.pipeline import Pipeline
from samples.faces.plan import write_pictures
from samples.photos.originals import opened, original
from slipway.errors import ContractInvalid, ImageError, ImageTruncated, NetworkFailed, RequestInvalid
from tests.handlers.faces_model import brightness, contract, pipeline, png

ASTRONAUT = (181, 62, 268, 172)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, np.ndarray]]:
    """The held-out files of the sample, with the boxes of their faces."""
    folder = tmp_path_factory.mktemp("faces")
    write_pictures("test", folder)
    truth = json.loads((folder / "truth.json").read_text())
    return {name: ((folder / name).read_bytes(), boxes_of(entry)) for name, entry in truth.items()}


def boxes_of(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["boxes"], np.float64).reshape(-1, 4)


def found_in(encoded: bytes, **parameters: Any) -> FacesResult:
    (answer,) = pipeline()[0].run([encoded], parameters)
    assert isinstance(answer, FacesResult)
    return answer


def check_each(found: FacesResult, truth: np.ndarray, least: float = 0.5) -> None:
    """Exactly the true faces, each with its landmarks where a face has them."""
    assert len(found.boxes) == len(truth)
    if len(truth):
        pairs = overlaps(truth, found.boxes)
        assert (pairs.max(axis=1) > least).all()
        assert len(set(pairs.argmax(axis=1))) == len(truth)
    check_geometry(found)


def check_geometry(found: FacesResult) -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all() and (left_mouth[:, 0] < right_mouth[:, 0]).all()
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    assert (eyes[:, 1] < nose[:, 1]).all() and (nose[:, 1] < mouth[:, 1]).all()
    sides = np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 1)[:, None]
    inside = (found.landmarks - found.boxes[:, None, :2]) / sides
    assert (inside > -0.1).all() and (inside < 1.1).all()


@pytest.mark.parametrize(
    "name", ["one-astronaut.png", "one-camera.png", "three-exif-1.jpg", "forty.jpg", "scene-13.jpg"]
)
def test_every_face_and_no_other(pictures: dict[str, Any], name: str) -> None:
    encoded, truth = pictures[name]
    assert len(truth) == {"o": 1, "t": 3, "f": 40, "s": 6}[name[0]]
    check_each(found_in(encoded), truth)


@pytest.mark.parametrize("name", ["none-china.jpg", "none-coffee.jpg", "scene-00.jpg"])
def test_no_face(pictures: dict[str, Any], name: str) -> None:
    record = found_in(pictures[name][0]).record()
    assert record["boxes"].shape == (0, 4) and record["landmarks"].shape == (0, 5, 2)
    assert plain(Faces.fields, record) == {"boxes": [], "scores": [], "landmarks": [], "count": 0}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_landmarks_are_those_of_the_upright_picture(pictures: dict[str, Any], orientation: int) -> None:
    encoded, truth = pictures[f"three-exif-{orientation}.jpg"]
    assert Image.open(io.BytesIO(encoded)).getexif()[0x0112] == orientation
    found = found_in(encoded)
    check_each(found, truth, 0.6)
    upright = found_in(png(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))))
    assert np.array_equal(found.boxes, upright.boxes) and np.array_equal(found.landmarks, upright.landmarks)


def test_twenty_megapixels_in_bounded_memory(tmp_path: Path) -> None:
    write_pictures("big", tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text())
    made, _ = pipeline()
    for name, entry in truth.items():
        tracemalloc.start()
        (found,) = made.run([(tmp_path / name).read_bytes()])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(found, FacesResult)
        pairs = overlaps(boxes_of(entry), found.boxes)
        assert (pairs.max(axis=1) > 0.5).all() and len(found.boxes) <= len(entry["boxes"]) + 1
        check_geometry(found)
        assert peak < 300e6, "of arrays; the decoded picture has 60 MB"


def test_alignment_of_found_faces(pictures: dict[str, Any]) -> None:
    """The astronaut looks ahead: found landmarks land on the template. All found faces are turned upright."""
    (landmarks,) = found_in(pictures["one-astronaut.png"][0]).landmarks
    found = to_template(landmarks, 112)
    assert found is not None
    assert np.abs(found.points(landmarks)[:2] - TEMPLATE[:2]).max() < 4, "eyes"
    for tilt in (-25, 25):
        turned = opened("astronaut.png").rotate(tilt, Image.Resampling.BICUBIC, center=(224, 117), fillcolor="grey")
        (tilted,) = found_in(png(turned)).landmarks
        again = to_template(tilted, 112)
        assert again is not None
        assert np.abs(again.points(tilted) - found.points(landmarks)).max() < 4
        assert abs(np.angle(again.turn, deg=True) - np.angle(found.turn, deg=True) - tilt) < 4


def test_crops_show_the_same_face_in_one_place(pictures: dict[str, Any]) -> None:
    image = opened("astronaut.png")
    task = Faces(contract())
    crops = [task.crops(image, found_in(png(image)), margin)[0] for margin in (0.0, 0.25)]
    assert [crop.size for crop in crops] == [(112, 112)] * 2 and crops[0].mode == "RGB"
    middle = np.asarray(crops[0].resize((74, 74), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(np.asarray(crops[1]).astype(float)[19:93, 19:93] - middle)[4:-4, 4:-4].mean() < 6
    assert np.asarray(crops[0]).std() > 30


def test_crops_are_as_large_as_the_attributes_want(pictures: dict[str, Any]) -> None:
    image = opened("astronaut.png")
    task = Faces(contract([brightness(margin=0.1, side=160)]))
    result = found_in(png(image))
    assert task.crops(image, result, 0.1)[0].size == (160, 160)
    assert task.crops(image, result, 0.0)[0].size == (112, 112)
    boxed = Faces(contract(crops="box")).crops(image, result, 0.0)[0]
    x1, y1, x2, y2 = (int(side) for side in result.boxes[0])
    assert np.array_equal(np.asarray(boxed), np.asarray(image.crop((x1, y1, x2, y2)).resize((112, 112), 2)))


def test_attributes_of_every_face(pictures: dict[str, Any]) -> None:
    made, networks = pipeline([brightness()])
    encoded, truth = pictures["forty.jpg"]
    answers = made.run([encoded, pictures["none-china.jpg"][0], pictures["one-astronaut.png"][0]])
    records = [answer.record() for answer in answers if not isinstance(answer, ImageError)]
    assert [len(record["light.labels"]) for record in records] == [len(truth), 0, 1]
    assert records[2]["light.labels"].tolist() == [["light"]]
    assert {label for row in records[0]["light.labels"] for label in row} == {"dark", "light"}
    asked = [call for calls in networks.lists for call in calls if call[0] == "attributes/light"]
    assert asked == [("attributes/light", (len(truth) + 1, 64, 64, 3))]


def test_tensors_and_json_say_the_same(pictures: dict[str, Any]) -> None:
    made, _ = pipeline([brightness()], max_faces=12)
    records = [
        answer.record() for answer in made.run([pictures[name][0] for name in ("three-exif-1.jpg", "scene-00.jpg")])
    ]
    tensors = pack(made.task.fields, records, made.task.width(made.task.options({})))
    assert tensors["boxes"].shape == (2, 12, 4) and tensors["landmarks"].shape == (2, 12, 5, 2)
    assert tensors["count"].tolist() == [[3], [0]]
    assert np.isnan(tensors["boxes"][0, 3:]).all()
    assert unpack(made.task.fields, tensors) == [plain(made.task.fields, record) for record in records]


def test_parameters_of_a_request(pictures: dict[str, Any]) -> None:
    encoded, _ = pictures["forty.jpg"]
    every = found_in(encoded)
    assert len(found_in(encoded, max_faces="7").boxes) == 7
    strict = found_in(encoded, score_threshold=0.999)
    assert 0 < len(strict.boxes) < len(every.boxes) and strict.scores.min() > 0.999
    large = found_in(encoded, min_face_size=80)
    assert 0 < len(large.boxes) < len(every.boxes)


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_faces": 0},
        {"max_faces": 101},
        {"score_threshold": 1.5},
        {"score_threshold": "high"},
        {"min_face_size": 11},
        {"min_face_size": 20.5},
        {"attributes": "age"},
    ],
)
def test_parameters_that_cannot_be_met(parameters: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid):
        pipeline([brightness()])[0].run([original("astronaut.png").read_bytes()], parameters)


def test_attributes_by_name(pictures: dict[str, Any]) -> None:
    made, networks = pipeline([brightness()])
    (answer,) = made.run([pictures["one-astronaut.png"][0]], {"attributes": "none"})
    assert not isinstance(answer, ImageError)
    assert len(answer.record()["boxes"]) == 1
    assert not [call for calls in networks.lists for call in calls if call[0] == "attributes/light"]


def test_a_bad_picture_costs_the_others_nothing(pictures: dict[str, Any]) -> None:
    good = pictures["one-astronaut.png"][0]
    answers = pipeline()[0].run([good[:4000], good, b"nonsense", good])
    assert isinstance(answers[0], ImageTruncated) and isinstance(answers[2], ImageError)
    for answer in (answers[1], answers[3]):
        assert isinstance(answer, FacesResult)
        assert overlaps(np.array([ASTRONAUT]), answer.boxes)[0, 0] > 0.9


def test_only_bad_pictures() -> None:
    (answer,) = pipeline()[0].run([original("astronaut.png").read_bytes()[:4000]])
    assert isinstance(answer, ImageTruncated)


def test_a_face_that_reaches_beyond_the_picture_is_clipped_to_it() -> None:
    picture = opened("astronaut.png").crop((195, 70, 400, 300))
    found = found_in(png(picture))
    assert len(found.boxes) == 1
    assert found.boxes.min() >= 0 and found.boxes[0, 2] <= 205 and found.boxes[0, 0] == 0


def test_a_network_that_fails_is_told(pictures: dict[str, Any]) -> None:
    made, networks = pipeline()
    networks._runs["onet"] = lambda pixels: np.zeros((len(pixels), 3), np.float32)
    with pytest.raises(NetworkFailed):
        made.run([pictures["one-astronaut.png"][0]])


@pytest.mark.parametrize(
    "settings",
    [{"factor": 1.0}, {"max_faces": 0}, {"crops": "round"}, {"min_face_size": 5}, {"refine_threshold": 2}, {"size": 3}],
)
def test_settings_that_are_not_valid(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractInvalid, match="settings of faces"):
        Pipeline(contract(**settings), pipeline()[1])


def test_other_networks_are_refused() -> None:
    from dataclasses import replace

    made = contract()
    with pytest.raises(ContractInvalid, match="not those"):
        Faces(replace(made, parts=made.parts[:2]))
    with pytest.raises(ContractInvalid, match="not those"):
        Faces(replace(made, parts=(*made.parts[:2], replace(made.parts[2], height=64, width=64))))
