"""What a contract of text recognition must have, what its networks must answer, and what a machine must have."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.calls import InProcess
from handlers.ocr import Ocr, OcrResult
from handlers.pipeline import Pipeline
from handlers.text.settings import OcrSettings
from slipway.contract import Contract, Network, Part, Preprocess
from slipway.errors import ContractInvalid, NetworkFailed
from slipway.spec.tasks import OcrSpec

pytest.importorskip("cv2")
SYMBOLS = ("", "x", " ")
ROOT = Path(__file__).parents[2]


def part(name: str, height: int = 0, width: int = 0, labels: tuple[str, ...] = ()) -> Part:
    network = Network(f"ocr.{name}.onnx", "onnx", "model.onnx", max_batch_size=4)
    return Part(name, network, height=height, width=width, labels=labels)


PARTS = {"det": part("det"), "cls": part("cls", 48, 192), "rec": part("rec", 48, 0, SYMBOLS)}


def contract(*parts: Part, **settings: Any) -> Contract:
    parts = parts or tuple(PARTS.values())
    return Contract(
        "ocr", "ocr", Preprocess(1, 1), parts[0].network, (), handler="handlers.ocr:Ocr", parts=parts, settings=settings
    )


@pytest.mark.parametrize(
    "parts",
    [
        (PARTS["det"],),
        (PARTS["rec"], PARTS["cls"]),
        (PARTS["det"], PARTS["rec"], part("words")),
        (PARTS["det"], part("rec", 48, 0)),
        (PARTS["det"], part("rec", 48, 320, SYMBOLS)),
        (PARTS["det"], part("rec", 0, 0, SYMBOLS)),
        (part("det", 736, 736), PARTS["rec"]),
        (PARTS["det"], PARTS["rec"], part("cls", 48, 0)),
    ],
)
def test_other_networks_are_refused(parts: tuple[Part, ...]) -> None:
    with pytest.raises(ContractInvalid, match="text recognition"):
        Ocr(contract(*parts))


@pytest.mark.parametrize(
    "settings",
    [
        {"text_score": 1.5},
        {"threshold": 0},
        {"box_threshold": -1},
        {"unclip_ratio": 11},
        {"min_side": 16},
        {"min_side": 900, "max_side": 800},
        {"max_scale": 0.5},
        {"direction_threshold": 0.4},
        {"max_lines": 0},
        {"min_line_width": 400, "max_line_width": 300},
        {"line_width_step": 0},
        {"colour": "red"},
        {"max_lines": "many"},
    ],
)
def test_other_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractInvalid, match="settings of ocr"):
        Ocr(contract(**settings))


def test_the_specification_has_the_settings_of_the_handler() -> None:
    settings = OcrSpec().settings()
    assert settings.keys() == {field.name for field in dataclasses.fields(OcrSettings)}
    assert OcrSettings.of(contract(**settings)).max_scale == 2.0
    assert OcrSettings.of(contract()).max_scale == 64.0, "versions published before there was a limit have none"


def answering(det: Any = None, cls: Any = None, rec: Any = None) -> Pipeline:
    """Networks of fixed answers: one bar of text across the middle of the map, which is read as ``x``."""

    def bar(pixels: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(pixels), 1, *pixels.shape[1:3]), np.float32)
        high, wide = pixels.shape[1:3]
        maps[:, :, high // 2 - 10 : high // 2 + 10, wide // 4 : wide // 2] = 0.95
        return maps

    def upright(pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([0.99, 0.01]), (len(pixels), 1))

    def says(pixels: np.ndarray) -> np.ndarray:
        steps = np.tile(np.float32([0.9, 0.06, 0.04]), (len(pixels), pixels.shape[2] // 8, 1))
        steps[:, 2] = (0.1, 0.85, 0.05)
        return steps

    own = contract()
    return Pipeline(own, InProcess({"det": det or bar, "cls": cls or upright, "rec": rec or says}, own))


def picture(width: int = 800, height: int = 800) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 190, 180)).save(stream, "PNG")
    return stream.getvalue()


def test_what_the_networks_say_becomes_lines_of_the_picture() -> None:
    (result,) = answering().run([picture(1600, 1600)])
    assert isinstance(result, OcrResult) and result.texts == ("x",) and result.scores == pytest.approx([0.85])
    left, top = result.quads[0].min(axis=0)
    right, bottom = result.quads[0].max(axis=0)
    assert left < 400 < 800 < right and top < 790 < 810 < bottom, "around the bar, grown"
    assert bottom - top < 80 and right - left < 480


def test_a_line_on_its_head_begins_at_its_other_end() -> None:
    (upright,) = answering().run([picture()])
    (turned,) = answering(cls=lambda pixels: np.tile(np.float32([0.01, 0.99]), (len(pixels), 1))).run([picture()])
    (unasked,) = answering(cls=lambda pixels: np.tile(np.float32([0.01, 0.99]), (len(pixels), 1))).run(
        [picture()], {"use_direction": False}
    )
    assert np.array_equal(turned.quads, np.roll(upright.quads, 2, axis=1))
    assert np.array_equal(unasked.quads, upright.quads)


@pytest.mark.parametrize(
    "networks",
    [
        {"det": lambda pixels: np.zeros((len(pixels), 1, 8, 8), np.float32)},
        {"det": lambda pixels: np.full((len(pixels), 1, *pixels.shape[1:3]), np.nan, np.float32)},
        {"cls": lambda pixels: np.zeros((len(pixels), 3), np.float32)},
        {"rec": lambda pixels: np.zeros((len(pixels), 40, 5), np.float32)},
        {"rec": lambda pixels: np.zeros((len(pixels), 3), np.float32)},
        {"rec": lambda pixels: np.full((len(pixels), 40, 3), np.inf, np.float32)},
    ],
)
def test_networks_that_answer_something_else_fail(networks: dict[str, Any]) -> None:
    with pytest.raises(NetworkFailed):
        answering(**networks).run([picture()])


def test_crops_for_attributes_hold_the_line_and_its_margin() -> None:
    pipeline = answering()
    image = Image.new("RGB", (800, 800), (255, 255, 255))
    image.paste((0, 0, 0), (300, 380, 500, 420))
    quads = np.array([[[300, 380], [500, 380], [500, 420], [300, 420]]], np.float32)
    result = OcrResult(quads, ("x",), np.array([0.9], np.float32))
    assert isinstance(pipeline.task, Ocr)
    (tight,) = pipeline.task.crops(image, result, 0.0)
    (wide,) = pipeline.task.crops(image, result, 0.5)
    assert tight.size == (240, 48) and np.asarray(tight).max() < 64, "its edges are mixed with the paper"
    assert wide.size == (144, 48), "(200 + 40) : (40 + 40)"
    dark = np.asarray(wide.convert("L")) < 128
    assert dark.mean() == pytest.approx(200 * 40 / (240 * 80), abs=0.02)
    assert not dark[:10].any() and not dark[-10:].any() and not dark[:, :10].any()


def test_without_opencv_the_machine_is_unfit() -> None:
    program = """
import sys
sys.modules["cv2"] = None
from handlers.text.opencv import opencv
from slipway.errors import EnvironmentUnfit
try:
    opencv()
except EnvironmentUnfit as error:
    print(error.code, "opencv-python-headless" in error.fix)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ENVIRONMENT_UNFIT", "True"]
