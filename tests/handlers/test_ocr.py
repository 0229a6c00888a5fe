"""Text in pictures with the real PP-OCR networks: as well as RapidOCR's own pipeline, whatever way up."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.metrics.base import once
from export.metrics.text import error_rate
from handlers.fields import plain
from handlers.ocr import OcrResult
from handlers.pipeline import Pipeline
from samples.texts.files import LINES, write
from slipway.errors import ImageError, RequestInvalid

pytest.importorskip("cv2")
from tests.handlers import ocr_model


@pytest.fixture(scope="module")
def ocr(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return ocr_model.pipeline(tmp_path_factory.mktemp("alphabet"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Any]]:
    """Pictures, and their texts by name."""
    folder = tmp_path_factory.mktemp("texts")
    paths = [path for path in write(folder) if path.suffix != ".json"]
    return paths, json.loads((folder / "truth.json").read_text(encoding="utf-8"))


def read(ocr: Pipeline, encoded: bytes, **parameters: Any) -> OcrResult:
    (answer,) = ocr.run([encoded], parameters)
    assert isinstance(answer, OcrResult), answer
    return answer


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def page(drawn: tuple[list[Path], dict[str, Any]]) -> tuple[Image.Image, list[str]]:
    """One upright page of several lines."""
    paths, truth = drawn
    path = next(path for path in paths if path.name.startswith("page-02"))
    return Image.open(path).convert("RGB"), truth[path.name]["texts"]


def rate(truth: list[str], found: list[str]) -> float:
    return once(error_rate(truth, found))


def test_fifty_lines_are_read_as_well_as_rapidocr_reads_them(
    ocr: Pipeline, drawn: tuple[list[Path], dict[str, Any]]
) -> None:
    rapidocr = pytest.importorskip("rapidocr")
    paths, truth = drawn
    lines = [path for path in paths if path.name.startswith("line")]
    assert len(lines) == LINES == 50
    theirs = rapidocr.RapidOCR(params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": 1})
    wanted = [" ".join(truth[path.name]["texts"]) for path in lines]
    ours = [" ".join(read(ocr, path.read_bytes()).texts) for path in lines]
    other = [" ".join(theirs(str(path)).txts or ()) for path in lines]
    assert rate(wanted, ours) <= rate(wanted, other) + 0.01
    assert rate(wanted, ours) < 0.015


def test_pages_are_read_in_order(ocr: Pipeline, drawn: tuple[list[Path], dict[str, Any]]) -> None:
    paths, truth = drawn
    pages = [path for path in paths if path.name.startswith("page")]
    wanted = ["\n".join(truth[path.name]["texts"]) for path in pages]
    assert rate(wanted, ["\n".join(read(ocr, path.read_bytes()).texts) for path in pages]) < 0.015


def test_a_page_on_its_head_is_read_and_found_where_it_is(ocr: Pipeline, page: tuple[Image.Image, list[str]]) -> None:
    image, _ = page
    upright, turned = read(ocr, encoded(image)), read(ocr, encoded(image.transpose(Image.Transpose.ROTATE_180)))
    same = set(turned.texts) & set(upright.texts)
    assert len(same) >= len(upright.texts) - 1, "the direction network is unsure of one short line at most"
    for text in same:
        one = upright.quads[upright.texts.index(text)]
        two = turned.quads[turned.texts.index(text)]
        back = np.array(image.size) - two  # the corner where the text begins is first in both
        assert np.abs(back - one).max() < 6, text


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_is_undone_first(ocr: Pipeline, page: tuple[Image.Image, list[str]], orientation: int) -> None:
    image, _ = page
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(image.transpose(turn), exif=exif)
    upright, found = read(ocr, encoded(image)), read(ocr, stored)
    assert found.texts == upright.texts and np.array_equal(found.quads, upright.quads)


def test_no_text(ocr: Pipeline) -> None:
    result = read(ocr, encoded(Image.new("RGB", (300, 200), (240, 240, 235))))
    assert result.texts == () and result.quads.shape == (0, 4, 2)
    assert plain(ocr.task.fields, result.record()) == {"quads": [], "texts": [], "scores": [], "count": 0}


def test_twenty_megapixels(ocr: Pipeline, page: tuple[Image.Image, list[str]]) -> None:
    image, texts = page
    sheet = Image.new("RGB", (5472, 3648), (250, 250, 250))
    large = image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC)
    sheet.paste(large, (2000, 1500))
    result = read(ocr, encoded(sheet, "JPEG", quality=92))
    assert rate(["\n".join(texts)], ["\n".join(result.texts)]) < 0.1
    inside = result.quads.reshape(-1, 2)
    assert (inside >= (1950, 1450)).all() and (inside <= (2050 + large.width, 1550 + large.height)).all()


def test_others_in_a_batch_change_nothing(ocr: Pipeline, drawn: tuple[list[Path], dict[str, Any]]) -> None:
    images = [path.read_bytes() for path in drawn[0][::12]]
    answers = ocr.run([*images[:2], b"no picture", *images[2:]])
    assert isinstance(answers.pop(2), ImageError)
    for image, answer in zip(images, answers, strict=True):
        alone = read(ocr, image)
        assert isinstance(answer, OcrResult) and alone.texts == answer.texts
        assert np.array_equal(alone.quads, answer.quads) and np.abs(alone.scores - answer.scores).max() < 1e-3


def test_requests_may_ask_for_less(ocr: Pipeline, page: tuple[Image.Image, list[str]]) -> None:
    whole = read(ocr, encoded(page[0]))
    assert len(read(ocr, encoded(page[0]), max_lines="2").texts) <= 2 < len(whole.texts)
    assert read(ocr, encoded(page[0]), text_score=1).texts == ()


@pytest.mark.parametrize(
    "parameters",
    [
        {"text_score": "nan"},
        {"text_score": 2},
        {"box_threshold": -0.1},
        {"max_lines": 0},
        {"max_lines": 10**9},
        {"use_direction": "sideways"},
    ],
)
def test_what_cannot_be_asked(ocr: Pipeline, parameters: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid, match=next(iter(parameters))):
        ocr.task.options(parameters)
