"""The detection task: what networks answer, what requests may change, and boxes in the original picture's pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from handlers.detection import Detection, DetectionResult
from handlers.fields import pack, plain
from handlers.geometry import Placement
from handlers.pipeline import Pipeline
from handlers.preprocess import Prepared
from slipway.contract import Contract, Network, Preprocess
from slipway.errors import ContractInvalid, ImageError, NetworkFailed, RequestInvalid
from tests.handlers.pictures import encode, picture

SIDE = 128
LABELS = ("magenta", "lime", "cyan")
COLOURS = ((255, 0, 255), (0, 255, 0), (0, 255, 255))
Floats = npt.NDArray[np.float32]


def contract(**settings: Any) -> Contract:
    return Contract(
        model="signs",
        task="detection",
        preprocess=Preprocess(SIDE, SIDE, resize="letterbox"),
        network=Network("signs.onnx", "onnx", "model.onnx", max_batch_size=4),
        labels=LABELS,
        handler="handlers.detection:Detection",
        settings={"tile": {"enabled": "never"}, **settings},
    )


def colours(pixels: npt.NDArray[np.uint8]) -> Floats:
    """A detector by rule, uint8[N, H, W, 3] -> float32[N, 3, 7]: the surroundings of each label's pure colour."""
    answers = np.zeros((len(pixels), 3, 7), np.float32)
    for row, image in enumerate(pixels.astype(int)):
        for label, colour in enumerate(COLOURS):
            y, x = np.nonzero(np.abs(image - colour).sum(axis=2) < 190)
            if len(x) > 8:
                answers[row, label, :4] = x.min(), y.min(), x.max() + 1, y.max() + 1
                answers[row, label, 4 + label] = 0.9 - 0.1 * label
    return answers


def prepared(count: int, size: tuple[int, int] = (SIDE, SIDE)) -> list[Prepared]:
    whole = Placement((0, 0, *size), (SIDE, SIDE), (0, 0), (SIDE, SIDE))
    return [Prepared(np.zeros((SIDE, SIDE, 3), np.uint8), whole, size)] * count


def results(
    outputs: Floats, settings: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
) -> list[DetectionResult]:
    task = Detection(contract(**settings))
    return task.results(outputs, prepared(len(outputs)), [task.options(parameters or {})] * len(outputs))


def raw(seed: int = 0, images: int = 3, places: int = 200) -> Floats:
    """float32[N, places, 7], corners and scores."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (images, places, 2))
    far = corners + random.uniform(4, 40, corners.shape)
    return np.concatenate([corners, far, random.uniform(0, 1, (images, places, 3))], axis=2).astype(np.float32)


def same(first: list[DetectionResult], second: list[DetectionResult], tolerance: float = 1e-4) -> None:
    for one, two in zip(first, second, strict=True):
        assert one.labels == two.labels
        assert np.abs(one.boxes - two.boxes).max() < tolerance
        assert np.abs(one.scores - two.scores).max() < 1e-5


def test_best_first_above_the_threshold_and_no_more_than_allowed() -> None:
    for found in results(raw(), {"score_threshold": 0.6, "max_detections": 20}):
        assert 5 < len(found.scores) <= 20
        assert found.scores.min() >= 0.6
        assert (np.diff(found.scores) <= 0).all()
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert found.boxes.min() >= 0
        assert found.boxes.max() <= SIDE


def test_every_layout_of_the_same_answer_is_read_the_same() -> None:
    outputs = raw()
    expected = results(outputs, {})
    centred = outputs.copy()
    centred[..., :2], centred[..., 2:4] = (
        (outputs[..., :2] + outputs[..., 2:4]) / 2,
        outputs[..., 2:4] - outputs[..., :2],
    )
    same(results(centred, {"layout": "cxcywh"}), expected)
    same(
        results(np.ascontiguousarray(centred.transpose(0, 2, 1)), {"layout": "cxcywh", "anchors_last": True}), expected
    )
    fraction = outputs.copy()
    fraction[..., :4] /= SIDE
    same(results(fraction, {"units": "fraction"}), expected)
    logits = outputs.copy()
    logits[..., 4:] = np.log(outputs[..., 4:] / (1 - outputs[..., 4:]))
    same(results(logits, {"activation": "sigmoid"}), expected)
    certain = np.concatenate([outputs[..., :4], np.full((3, 200, 1), 0.5), outputs[..., 4:]], axis=2)
    lessened = results(certain.astype(np.float32), {"objectness": True, "score_threshold": 0.125})
    same([replace(found, scores=2 * found.scores) for found in lessened], expected)


def test_suppression_is_by_class_unless_agnostic() -> None:
    outputs = np.zeros((1, 2, 7), np.float32)
    outputs[0, :, :4] = 10, 10, 50, 50
    outputs[0, 0, 4], outputs[0, 1, 6] = 0.6, 0.7
    assert results(outputs, {})[0].labels == ("cyan", "magenta")
    assert results(outputs, {"class_agnostic": True})[0].labels == ("cyan",)
    only_magenta = {"classes": "magenta"}
    assert results(outputs, {}, only_magenta)[0].labels == ("magenta",)
    assert results(outputs, {"class_agnostic": True}, only_magenta)[0].labels == (), "the place is taken by cyan"


def test_filters_show_a_part_of_what_there_is() -> None:
    everything = results(raw(), {"max_detections": 1000})
    for asked in ("lime,magenta", ["magenta", "lime"], (" lime ", "magenta")):
        for found, whole in zip(results(raw(), {"max_detections": 1000}, {"classes": asked}), everything, strict=True):
            chosen = [index for index, label in enumerate(whole.labels) if label != "cyan"]
            assert found.labels == tuple(whole.labels[index] for index in chosen)
            assert np.array_equal(found.boxes, whole.boxes[chosen])
    for found, whole in zip(results(raw(), {}, {"score_threshold": "0.8"}), everything, strict=True):
        assert found.scores.tolist() == whole.scores[whole.scores >= 0.8].tolist()
    for found, whole in zip(results(raw(), {}, {"max_detections": 3}), everything, strict=True):
        assert np.array_equal(found.boxes, whole.boxes[:3])
    assert len(results(raw(), {}, {"iou_threshold": 0.1})[0].labels) < len(results(raw(), {})[0].labels)


def test_candidates_are_the_best_and_ties_keep_the_order_of_places() -> None:
    outputs = raw(places=400)
    outputs[..., 4:] = np.round(outputs[..., 4:], 1)
    kept = results(outputs, {"candidates": 50, "iou_threshold": 1.0, "max_detections": 300})
    for row, found in zip(outputs, kept, strict=True):
        best = np.argsort(-row[:, 4:].max(axis=1), kind="stable")[:50]
        assert np.array_equal(found.boxes, np.clip(row[best, :4], 0, SIDE))


def test_boxes_beyond_the_picture_are_cut_or_left_out() -> None:
    outputs = np.zeros((1, 4, 7), np.float32)
    outputs[0, :, :4] = [(-20, -20, 30, 30), (130, 130, 180, 180), (60, 60, 40, 80), (-1e30, 0, 1e30, 1e30)]
    outputs[0, :, 4] = 0.9, 0.8, 0.7, 0.6
    found = results(outputs, {})[0]
    assert found.boxes.tolist() == [[0, 0, 30, 30], [0, 0, SIDE, SIDE]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_fail(bad: float) -> None:
    outputs = raw()
    outputs[1, 7, 2] = bad
    with pytest.raises(NetworkFailed, match="NaN or infinite"):
        results(outputs, {})


@pytest.mark.parametrize("shape", [(3, 200, 6), (2, 200, 7), (3, 7), (3, 7, 200), (3, 1, 200, 7)])
def test_other_shapes_fail(shape: tuple[int, ...]) -> None:
    task = Detection(contract())
    with pytest.raises(NetworkFailed, match="does not fit"):
        task.results(np.zeros(shape, np.float32), prepared(3), [task.options({})] * 3)


def test_no_places_at_all_is_no_detection() -> None:
    assert results(np.zeros((2, 0, 7), np.float32), {})[1].labels == ()
    assert results(np.zeros((2, 9, 7), np.float32), {})[0].boxes.shape == (0, 4)


HOSTILE: list[dict[str, Any]] = [
    {"score_threshold": value} for value in (-0.1, 1.1, "much", "nan", float("inf"), True, [0.5], "1e999", {})
]
HOSTILE += [{"iou_threshold": value} for value in (-1, 2, "", "0,5", b"0.5")]
HOSTILE += [{"max_detections": value} for value in (0, -1, 101, "101", 1.5, "many", True, 10**30, [1])]
HOSTILE += [
    {"classes": value}
    for value in ("", "green", "magenta,green", [], 3, {"magenta": 1}, ["magenta", None], "magenta;lime", "LIME")
]
HOSTILE += [{"tile": value} for value in ("perhaps", 2, [], "true", True)]


@pytest.mark.parametrize("parameters", HOSTILE, ids=str)
def test_parameters_that_cannot_be_met_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid) as caught:
        Detection(contract()).options(parameters)
    assert caught.value.fix


def test_parameters_may_be_text() -> None:
    options = Detection(contract(tile={"enabled": "auto"})).options(
        {
            "score_threshold": "0.5",
            "iou_threshold": "1",
            "max_detections": "7",
            "classes": "cyan,magenta,magenta",
            "tile": "false",
        }
    )
    assert (options.score_threshold, options.iou_threshold, options.max_detections) == (0.5, 1.0, 7)
    assert (options.classes, options.tile) == ((0, 2), False)


@pytest.mark.parametrize(
    "settings",
    [
        {"score_threshold": 2},
        {"iou_threshold": 0},
        {"max_detections": 0},
        {"candidates": 0},
        {"layout": "polar"},
        {"units": "miles"},
        {"activation": "softmax"},
        {"anchors": 3},
        {"tile": {"overlap": 1}},
        {"tile": {"size": 640}},
        {"score_threshold": "high"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractInvalid):
        Detection(contract(**settings))


def test_tensors_are_padded_and_counted() -> None:
    task = Detection(contract(max_detections=6))
    pipeline = Pipeline(contract(max_detections=6), colours)
    answers = pipeline.run([signs(picture()), encode(picture("camera.png"), "PNG")])
    tensors = pack(task.fields, [*(answer.record() for answer in answers), None], 6)
    assert tensors["boxes"].shape == (3, 6, 4)
    assert tensors["count"].tolist() == [[3], [0], [0]]
    assert tensors["labels"][0].tolist() == ["magenta", "lime", "cyan", "", "", ""]
    assert np.isnan(tensors["boxes"][0, 3:]).all()
    assert np.isnan(tensors["scores"][1:]).all()
    values = plain(task.fields, answers[0].record())
    assert values.pop("count") == 3
    assert [len(items) for items in values.values()] == [3, 3, 3]


BOXES = ((40, 30, 120, 90), (200, 50, 330, 120), (150, 180, 190, 290))


def signs(image: Image.Image, **options: Any) -> bytes:
    """The photograph with one sign of every label, as a PNG file or what the options say."""
    drawn = image.copy()
    for box, colour in zip(BOXES, COLOURS, strict=True):
        ImageDraw.Draw(drawn).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    return encode(drawn, **{"file_format": "PNG", **options})


def test_boxes_are_those_of_the_original_picture() -> None:
    (found,) = Pipeline(contract(), colours).run([signs(picture())])
    assert isinstance(found, DetectionResult)
    assert found.labels == LABELS
    scale = picture().width / SIDE
    assert np.abs(found.boxes - BOXES).max() <= scale, "a pixel of the input is so many of the picture"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_boxes_of_the_upright_picture(orientation: int) -> None:
    upright = Image.open(io.BytesIO(signs(picture())))
    stored = turned_back(upright, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (found,) = Pipeline(contract(), colours).run([encode(stored, "PNG", exif=exif.tobytes())])
    (expected,) = Pipeline(contract(), colours).run([encode(upright, "PNG")])
    assert found.labels == expected.labels == LABELS
    assert np.array_equal(found.boxes, expected.boxes)


def turned_back(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels as a camera stores them that was held so (EXIF 2.3, tag 0x0112)."""
    steps = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(steps[orientation]) if orientation in steps else upright


def test_a_bad_image_costs_the_others_nothing() -> None:
    good = [signs(picture()), signs(picture("coffee.png")), signs(picture("astronaut.png"), file_format="BMP")]
    truncated = good[1][: len(good[1]) // 2]
    answers = Pipeline(contract(), colours).run([good[0], truncated, good[1], b"", good[2], b"GIF89a", *good])
    assert [isinstance(answer, ImageError) for answer in answers] == [False, True, False, True, False, True] + [
        False
    ] * 3
    assert all(answer.labels == LABELS for answer in answers if isinstance(answer, DetectionResult))


def test_images_of_one_batch_may_have_options_of_their_own() -> None:
    pipeline = Pipeline(contract(), colours)
    options = [pipeline.task.options(parameters) for parameters in ({"classes": "cyan"}, {}, {"max_detections": 1})]
    answers = pipeline.run([signs(picture())] * 3, options)
    assert [answer.labels for answer in answers] == [("cyan",), LABELS, ("magenta",)]


def test_tiles_find_what_the_whole_picture_is_too_small_for() -> None:
    image = picture("retina.jpg")
    draw = ImageDraw.Draw(image)
    boxes = [(100, 100, 108, 106), (1300, 1210, 1309, 1218), (125, 700, 133, 709)]
    for box in boxes:
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=COLOURS[2])
    calls: list[int] = []

    def counted(pixels: npt.NDArray[np.uint8]) -> Floats:
        calls.append(len(pixels))
        return colours(pixels)

    file, bad = encode(image, "PNG"), encode(image, "PNG")[:90_000]
    pipeline = Pipeline(contract(tile={"max_tiles": 400}), counted)
    broken, found, small = pipeline.run([bad, file, signs(picture("coffee.png").resize((120, 80)))])
    assert isinstance(broken, ImageError)
    assert isinstance(found, DetectionResult)
    assert sorted(found.boxes.tolist()) == sorted(map(list, boxes))
    assert isinstance(small, DetectionResult)
    assert set(calls[:-1]) == {4}, "every batch but the last is full"
    assert sum(calls) == 14 * 14 + 1 + 1
    (untiled,) = pipeline.run([file], {"tile": "false"})
    assert isinstance(untiled, DetectionResult)
    assert len(untiled.boxes) < 3


def half_an_eight(pixels: npt.NDArray[np.uint8]) -> Floats:
    """A detector of black and white: what a tile's border cuts is read as magenta, the same object whole as lime."""
    answers = np.zeros((len(pixels), 1, 7), np.float32)
    for row, image in enumerate(pixels):
        y, x = np.nonzero(image.sum(axis=2) > 700)
        if len(x) and y.max() - y.min() > 55:
            cut = x.max() == SIDE - 1 or x.min() == 0
            answers[row, 0, :4] = x.min(), y.min(), x.max() + 1, y.max() + 1
            answers[row, 0, 4 + (not cut)] = 0.8 if cut else 0.9
    return answers


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("most", [1, 50])
def test_a_filter_by_class_shows_no_piece_that_the_whole_answer_denies(agnostic: bool, most: int) -> None:
    image = Image.new("RGB", (160, SIDE))
    ImageDraw.Draw(image).rectangle((90, 30, 139, 94), fill="white")
    settings = {"tile": {"enabled": "always", "whole": False}, "class_agnostic": agnostic, "max_detections": most}
    pipeline = Pipeline(contract(**settings), half_an_eight)
    file = encode(image, "PNG")
    found = {name: pipeline.run([file], {"classes": name})[0] for name in LABELS}
    (everything,) = pipeline.run([file])
    assert everything.labels == ("lime",) and everything.boxes.tolist() == [[90, 30, 140, 95]]
    assert [found[name].labels for name in LABELS] == [(), ("lime",), ()]
    assert found["lime"].boxes.tolist() == everything.boxes.tolist()


def a_bar_and_a_spot(pixels: npt.NDArray[np.uint8]) -> Floats:
    """As :func:`half_an_eight`, surer of what is cut than of what is whole; and a red spot in between, cyan."""
    answers = np.zeros((len(pixels), 2, 7), np.float32)
    answers[:, :1] = half_an_eight(pixels)
    answers[:, 0, 4:] = np.where(answers[:, 0, 4:] > 0.85, 0.5, answers[:, 0, 4:])
    for row, image in enumerate(pixels):
        y, x = np.nonzero((image[..., 0] > 200) & (image[..., 1] < 50))
        if len(x):
            answers[row, 1] = x.min(), y.min(), x.max() + 1, y.max() + 1, 0, 0, 0.6
    return answers


def test_a_piece_that_is_dropped_takes_nobodys_place() -> None:
    """The best one of many is the one answer where one is asked for."""
    image = Image.new("RGB", (160, SIDE))
    draw = ImageDraw.Draw(image)
    draw.rectangle((90, 30, 139, 94), fill="white")
    draw.rectangle((10, 10, 29, 29), fill="red")
    pipeline = Pipeline(contract(tile={"enabled": "always", "whole": False}), a_bar_and_a_spot)
    (every,) = pipeline.run([encode(image, "PNG")])
    (one,) = pipeline.run([encode(image, "PNG")], {"max_detections": 1})
    assert every.labels == ("cyan", "lime")
    assert one.labels == ("cyan",) and one.boxes.tolist() == every.boxes[:1].tolist()


def test_a_filter_by_class_is_no_narrower_for_others_that_score_higher() -> None:
    """``max_detections`` counts what was asked for, in tiles as in one view."""
    image = picture("retina.jpg")
    draw = ImageDraw.Draw(image)
    for box, colour in (((100, 100, 108, 106), 0), ((90, 120, 98, 126), 1), ((110, 110, 118, 116), 2)):
        draw.rectangle(box, fill=COLOURS[colour])
    pipeline = Pipeline(contract(tile={"max_tiles": 400}), colours)
    (found,) = pipeline.run([encode(image, "PNG")], {"classes": "cyan", "max_detections": 1})
    assert found.labels == ("cyan",)
    assert found.boxes.tolist() == [[110, 110, 119, 117]]


def test_crops_are_what_lies_in_the_boxes() -> None:
    image = picture()
    task = Detection(contract())
    boxes = np.array([[40.2, 30, 120, 90], [0, 0, 451, 300], [450.9, 299.9, 451, 300]], np.float32)
    result = DetectionResult(boxes, np.ones(3, np.float32), LABELS)
    assert [crop.size for crop in task.crops(image, result, 0.0)] == [(80, 60), (451, 300), (1, 1)]
    assert [crop.size for crop in task.crops(image, result, 0.5)][:2] == [(160, 120), (451, 300)]
    assert np.array_equal(task.crops(image, result, 0.0)[0], image.crop((40, 30, 120, 90)))
