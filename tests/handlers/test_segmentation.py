"""Segmentation: masks of the original picture, one map or many, encodings, hostile parameters, numpy 1 and 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.fields import pack, plain, unpack
from handlers.masks import from_png, from_rle
from handlers.pipeline import Pipeline
from handlers.segmentation import Segmentation, SegmentationResult
from serving.triton.environment import find_triton
from slipway.contract import Contract, Network, Preprocess
from slipway.errors import ContractInvalid, ImageError, NetworkFailed, RequestInvalid, SlipwayError
from tests.handlers.pictures import encode, picture

ROOT = Path(__file__).parents[2]
SIDE = 64
LABELS = ("background", "magenta", "lime")
COLOURS = ((0, 0, 0), (255, 0, 255), (0, 255, 0))


def contract(resize: str = "letterbox", labels: tuple[str, ...] = LABELS, **settings: Any) -> Contract:
    return Contract(
        model="areas",
        task="segmentation",
        preprocess=Preprocess(SIDE, SIDE, resize=resize, resize_to=SIDE, max_pixels=30_000_000),
        network=Network("areas.onnx", "onnx", "model.onnx", max_batch_size=4),
        labels=labels,
        handler="handlers.segmentation:Segmentation",
        settings=settings,
    )


def colours(pixels: np.ndarray) -> np.ndarray:
    """A segmenter by rule, uint8[N, H, W, 3] -> float32[N, 3, H/2, W/2]: how near each colour is."""
    small = pixels[:, ::2, ::2].astype(np.float32)
    near = [-np.abs(small - np.array(colour, np.float32)).sum(axis=3) / 100 for colour in COLOURS]
    return np.stack(near, axis=1).astype(np.float32)


def signs(size: tuple[int, int] = (200, 100)) -> tuple[Image.Image, np.ndarray]:
    """A black picture with a magenta and a lime area, and its label map."""
    width, height = size
    truth = np.zeros((height, width), np.uint8)
    truth[height // 5 : height // 2, width // 10 : width // 2] = 1
    truth[height // 2 : height - 5, width // 2 : -width // 10] = 2
    return Image.fromarray(np.array(COLOURS, np.uint8)[truth]), truth


def answer(pipeline: Pipeline, image: Image.Image, **parameters: Any) -> SegmentationResult:
    (result,) = pipeline.run([encode(image, "PNG")], parameters)
    assert isinstance(result, SegmentationResult)
    return result


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(200, 100), (64, 64), (90, 301)])
def test_masks_are_of_the_original_picture(resize: str, size: tuple[int, int]) -> None:
    image, truth = signs(size)
    result = answer(Pipeline(contract(resize), colours), image)
    assert result.map.shape == truth.shape
    assert (result.map == truth).mean() > 0.9
    assert np.array_equal(from_png(result.mask), result.map) and result.rle == ""
    shares = dict(zip(result.classes, result.shares.tolist(), strict=True))
    assert shares == pytest.approx({name: (result.map == n).mean() for n, name in enumerate(LABELS)}, abs=1e-6)
    assert list(result.shares) == sorted(result.shares, reverse=True)
    assert [LABELS[value] for value in result.values] == list(result.classes)


def test_rotated_exif_is_turned_upright() -> None:
    image, truth = signs((200, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    sideways = image.transpose(Image.Transpose.ROTATE_90)
    (result,) = Pipeline(contract(), colours).run([encode(sideways, "PNG", exif=exif)])
    assert isinstance(result, SegmentationResult)
    assert result.record()["size"].tolist() == [200, 100]
    assert (result.map == truth).mean() > 0.9


@pytest.mark.parametrize(("background", "outside"), [("background", 0), ("", 255), ("lime", 2)])
def test_what_the_crop_does_not_show_is_background_or_void(background: str, outside: int) -> None:
    image = Image.new("RGB", (200, 100), COLOURS[1])
    result = answer(Pipeline(contract("shorter_side", background=background), colours), image)
    assert np.unique(result.map[:, 50:150]).tolist() == [1]
    assert np.unique(result.map[:, [0, 49, 150, 199]]).tolist() == [outside]
    assert sum(result.shares) == pytest.approx(1 if background else 0.5)
    runs = answer(Pipeline(contract("shorter_side", background=background), colours), image, encoding="rle")
    assert np.array_equal(from_rle(runs.rle, LABELS), runs.map)


def test_run_lengths_on_request() -> None:
    image, _ = signs()
    pipeline = Pipeline(contract(), colours)
    mask, runs = answer(pipeline, image), answer(pipeline, image, encoding="rle")
    assert runs.mask == b""
    assert np.array_equal(from_rle(runs.rle, LABELS), mask.map)
    told = plain(pipeline.task.fields, runs.record())
    assert json.loads(json.dumps(told))["rle"] == runs.rle


def test_one_map_for_two_labels_is_a_threshold() -> None:
    image = Image.linear_gradient("L").convert("RGB")  # black above, white below, 256 rows

    def logits(pixels: np.ndarray) -> np.ndarray:
        shares = np.clip(pixels[..., 0].astype(np.float32) / 255, 0.001, 0.999)
        return np.log(shares / (1 - shares))[:, None]

    pipeline = Pipeline(contract(labels=("no", "yes")), logits)
    for threshold in (0.2, 0.5, 0.9):
        result = answer(pipeline, image, score_threshold=str(threshold))
        assert (result.map[:, 100] == 1).mean() == pytest.approx(1 - threshold, abs=0.02)


def test_one_map_for_one_label_is_refused() -> None:
    with pytest.raises(NetworkFailed, match="does not fit"):
        Pipeline(contract(labels=("thing",) * 3), lambda pixels: colours(pixels)[:, :1]).run(
            [encode(signs()[0], "PNG")]
        )


@pytest.mark.parametrize("parameters", [{"encoding": "jpeg"}, {"encoding": 3}, {"encoding": ["png"]}])
@pytest.mark.parametrize("value", [{}, {"score_threshold": 0.5}])
def test_unknown_encodings_are_refused(parameters: dict[str, Any], value: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid, match="encoding"):
        Segmentation(contract()).options({**parameters, **value})


@pytest.mark.parametrize("value", ["0", 1, "nan", -1, True, [], "x" * 10_000])
def test_hostile_thresholds_are_refused(value: Any) -> None:
    with pytest.raises(RequestInvalid, match="score_threshold"):
        Segmentation(contract()).options({"score_threshold": value})


@pytest.mark.parametrize(
    "settings", [{"background": "sky"}, {"threshold": 0.0}, {"threshold": 1.0}, {"encoding": "rle"}, {"colour": 1}]
)
def test_unknown_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractInvalid):
        Segmentation(contract(**settings))


def test_more_classes_than_a_mask_can_hold_are_refused() -> None:
    with pytest.raises(ContractInvalid, match="labels"):
        Segmentation(contract(labels=tuple(map(str, range(255)))))


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (1, 3, 0, 8), (1, 1, 8, 8)])
def test_outputs_that_do_not_fit_fail(shape: tuple[int, ...]) -> None:
    with pytest.raises(NetworkFailed, match="does not fit"):
        Pipeline(contract(), lambda pixels: np.zeros(shape, np.float32)).run([encode(signs()[0], "PNG")])


def test_a_bad_image_costs_the_others_nothing_and_tensors_become_json() -> None:
    pipeline = Pipeline(contract(), colours)
    images = [encode(signs((120, 80))[0], "PNG"), b"junk", encode(signs((60, 70))[0], "PNG")]
    answers = pipeline.run(images)
    assert isinstance(answers[1], ImageError)
    records = [None if isinstance(found, ImageError) else found.record() for found in answers]
    tensors = pack(pipeline.task.fields, records, pipeline.task.width(pipeline.task.options({})))
    assert tensors["size"].tolist() == [[120, 80], [0, 0], [60, 70]]
    assert tensors["mask"].shape == (3, 1) and tensors["classes"].shape == (3, 3)
    assert isinstance(tensors["mask"][0, 0], bytes)
    for row in (0, 2):
        assert unpack(pipeline.task.fields, tensors)[row] == plain(pipeline.task.fields, records[row])  # type: ignore[arg-type]


def test_a_photo_of_twenty_megapixels() -> None:
    photo = picture("astronaut.png").resize((5472, 3648))
    result = answer(Pipeline(contract(), colours), photo)
    assert result.map.shape == (3648, 5472)


def test_numpy_1_and_2_give_the_same_masks() -> None:
    try:
        python = find_triton(ROOT / ".venv-triton").environment / "bin" / "python"
    except SlipwayError as problem:
        pytest.skip(f"the serving environment is not there: {problem}")
    told = [masks_in(interpreter) for interpreter in (Path(sys.executable), python)]
    assert told[1]["numpy"].startswith("1.26.") and not told[0]["numpy"].startswith("1.")
    assert told[0]["masks"] == told[1]["masks"] and len(set(told[0]["masks"])) == 12


def masks_in(python: Path) -> dict[str, Any]:
    """sha256 of masks and run lengths of noise, which has the most borders."""
    program = """
import hashlib, io, json
import numpy as np
from PIL import Image
from handlers.pipeline import Pipeline
from slipway.contract import Contract, Network, Preprocess

def noise(pixels):
    random = np.random.default_rng(int(pixels.sum()) % 1000)
    return random.normal(size=(len(pixels), 5, 24, 16)).astype(np.float32)

found = []
for resize in ("letterbox", "shorter_side", "stretch"):
    contract = Contract("any", "segmentation", Preprocess(96, 64, resize=resize, resize_to=96),
        Network("any.onnx", "onnx", "model.onnx"), tuple("abcde"), handler="handlers.segmentation:Segmentation")
    for size in ((300, 200), (333, 900)):
        file = io.BytesIO()
        Image.radial_gradient("L").resize(size).save(file, "PNG")
        for encoding in ("png", "rle"):
            (result,) = Pipeline(contract, noise).run([file.getvalue()], {"encoding": encoding})
            content = result.map.tobytes() + result.rle.encode() + result.shares.tobytes()
            found.append(hashlib.sha256(content).hexdigest())
print(json.dumps({"numpy": np.__version__, "masks": found}))
"""
    done = subprocess.run([python, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    values: dict[str, Any] = json.loads(done.stdout)
    return values
