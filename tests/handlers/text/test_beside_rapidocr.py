"""Every step beside RapidOCR's own on what the real networks say about real pictures: boxes, crops, characters."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handlers.calls import Call, Networks
from handlers.ocr import DETECT, READ, Ocr
from handlers.picture import Picture
from handlers.text import ctc
from handlers.text.batches import by_width
from handlers.text.crop import Source
from handlers.text.db import Found, find_boxes
from handlers.text.view import shown, view
from samples.photos.originals import opened
from samples.texts.files import pictures
from tests.handlers import ocr_model

pytest.importorskip("cv2")
det = pytest.importorskip("rapidocr.ch_ppocr_det.utils")
rec = pytest.importorskip("rapidocr.ch_ppocr_rec.utils")
images_of = pytest.importorskip("rapidocr.utils.process_img")


class Kept:
    """Networks whose outputs are kept: (call, output)."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.seen: list[tuple[Call, np.ndarray]] = []

    def run(self, calls: list[Call]) -> list[np.ndarray]:
        outputs = self._networks.run(calls)
        self.seen += zip(calls, outputs, strict=True)
        return outputs

    def of(self, network: str) -> list[tuple[Call, np.ndarray]]:
        return [pair for pair in self.seen if pair[0].network == network]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What the networks say about three pages, four lines and two photographs of print and handwriting."""
    pipeline = ocr_model.pipeline(tmp_path_factory.mktemp("alphabet"))
    names = ("page-00.png", "page-01.jpg", "page-07.jpg", "line-00.png", "line-01.jpg", "line-04.png", "line-25.jpg")
    chosen = [Image.fromarray(drawn.pixels) for drawn in pictures() if drawn.name in names]
    assert len(chosen) == len(names)
    kept = Kept(pipeline._networks)
    for image in [*chosen, opened("page.png"), opened("text.png")]:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        picture = Picture.of(stream.getvalue(), pipeline.contract.preprocess)
        pipeline.task.run([picture], [pipeline.task.options({})], kept)
    return kept


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    task = ocr_model.pipeline(tmp_path_factory.mktemp("alphabet")).task
    assert isinstance(task, Ocr)
    return task._symbols


def boxes(map_: np.ndarray) -> tuple[Found, np.ndarray, np.ndarray]:
    """Ours, theirs and their scores, in the same order."""
    theirs = det.DBPostProcess(0.3, 0.5, 1000, 1.6, use_dilation=True)
    quads, scores = theirs(map_[None, None], map_.shape)
    found = find_boxes(map_, 0.3, 0.5, 1.6)
    assert len(found.quads) == len(quads)
    centres = np.array(quads, np.float64).mean(axis=1)
    nearest = [int(np.argmin(np.linalg.norm(centres - quad.mean(axis=0), axis=1))) for quad in found.quads]
    assert sorted(nearest) == list(range(len(quads)))
    return found, np.array(quads, np.float64)[nearest], np.array(scores)[nearest]


def test_boxes_of_real_maps(asked: Kept) -> None:
    """Theirs are cut off to whole pixels before they grow, and rounded to them after it."""
    overlaps: list[float] = []
    for _, output in asked.of(DETECT):
        map_ = output[0, 0]
        found, quads, scores = boxes(map_)
        limits = np.array(map_.shape[::-1])
        for one, two in zip(np.clip(found.quads, 0, limits), quads, strict=True):
            overlaps.append(overlap(one, two))
            assert np.abs(one.mean(axis=0) - two.mean(axis=0)).max() < 2.0
        assert np.abs(found.scores - scores).max() < 1e-5
    assert len(overlaps) > 35 and min(overlaps) > 0.85 and np.mean(overlaps) > 0.94


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union of two quadrilaterals."""
    polygons = pytest.importorskip("shapely").Polygon
    first, second = polygons(one), polygons(two)
    return float(first.intersection(second).area / first.union(second).area)


def test_characters_of_real_lines(asked: Kept, symbols: tuple[str, ...]) -> None:
    theirs = rec.CTCLabelDecode(character=list(symbols[1:-1]))
    read = 0
    for _, output in asked.of(READ):
        (expected, _) = theirs(output)
        for steps, (text, score) in zip(output, expected, strict=True):
            found, own = ctc.decode(steps, symbols)
            assert found == text and own == pytest.approx(score, abs=2e-5)
            read += bool(text)
    assert read > 35


@pytest.mark.parametrize("angle", [0.0, 7.0, -20.0, 60.0])
@pytest.mark.parametrize("height", [20, 48, 70, 150, 700])
def test_crops_show_the_same_at_every_size(height: int, angle: float) -> None:
    """A photograph without fine detail, so that the ways to scale agree: what differs is where things are."""
    image = opened("astronaut.png").resize((1024, 1024)).reduce(4).resize((2048, 2048), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    turn = np.radians(angle)
    half = np.array([[-2, -0.5], [2, -0.5], [2, 0.5], [-2, 0.5]]) * min(height, 380)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    quad = half @ rotation + 1024
    ours = Source(pixels).crop(quad, 48, 3200).astype(np.float64)
    theirs = images_of.get_rotate_crop_image(pixels, quad.astype(np.float32))
    assert ours.shape == (48, 192, 3)
    scaled = np.asarray(Image.fromarray(theirs).resize((192, 48), Image.Resampling.BILINEAR), np.float64)
    assert np.abs(ours - scaled).mean() < 2.5, "grey levels; a shift by one pixel of 48 makes this 3 and more"


def test_the_detector_sees_a_picture_as_a_whole() -> None:
    image = opened("page.png")
    seen = view(image.size, 736, 2016, 2.0)
    assert seen.input == (768, 384) and shown(image, seen).shape == (384, 768, 3)
    corners = np.array([[[0, 0], [768, 0], [768, 384], [0, 384]]], np.float64)
    assert np.allclose(seen.to_picture(corners)[0], [[0, 0], [384, 0], [384, 191], [0, 191]])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 1000), (992, 992)),
        ((640, 480), (992, 736)),  # to the shorter side of 736
        ((100, 60), (192, 128)),  # no more than twice as large
        ((5472, 3648), (2016, 1344)),
        ((1600, 40), (2016, 256)),  # a strip gets borders, to 8:1
        ((40, 1600), (256, 2016)),
        ((1, 1), (32, 32)),
        ((65_535, 1), (2016, 256)),
    ],
)
def test_views_are_bounded_and_fit_the_network(size: tuple[int, int], expected: tuple[int, int]) -> None:
    seen = view(size, 736, 2016, 2.0)
    assert seen.input == expected
    assert np.all(seen.to_picture(np.full((1, 4, 2), 1e5)) == np.array(size)), "clipped to the picture"


def test_lines_are_padded_by_themselves() -> None:
    generator = np.random.default_rng(3)
    widths = [10, 400, 321, 352, 320, 3200, 33]
    lines = [generator.integers(0, 256, (48, width, 3), np.uint8) for width in widths]
    batches = by_width(lines, 32, 320, 640)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lines)))
    assert [batch.pixels.shape[2] for batch in batches] == [320, 320, 352, 352, 416, 3200]
    for batch in batches:
        assert batch.pixels.shape[0] * batch.pixels.shape[2] <= 640 or len(batch.rows) == 1
        for row, pixels in zip(batch.rows, batch.pixels, strict=True):
            assert np.array_equal(pixels[:, : widths[row]], lines[row]) and (pixels[:, widths[row] :] == 128).all()


def test_noise_costs_a_bounded_time(tmp_path: Path) -> None:
    """A hostile map: 260,000 separate cores of one pixel, and 30,000 that are large enough to be measured."""
    dots = np.zeros((1024, 1024), np.float32)
    dots[::4, ::4] = 1.0
    assert len(find_boxes(dots, 0.3, 0.5, 1.6).quads) == 0
    squares = np.kron(np.indices((256, 256)).sum(axis=0) % 2 == 0, np.ones((4, 4), np.float32)).astype(np.float32)
    squares[3::4] = squares[:, 3::4] = 0
    found = find_boxes(squares, 0.3, 0.1, 1.6)
    assert 0 < len(found.quads) <= 3000
    assert len(found.best(7).quads) == 7 and found.best(7).scores.min() >= np.sort(found.scores)[-7]
