"""Pieces of text recognition beside RapidOCR's own: boxes of a map, decoding, order."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.text import ctc
from handlers.text.order import reading_order

SYMBOLS = ("", "a", "b", " ")


def steps(*symbols: int, sure: float = 0.9) -> np.ndarray:
    rows = np.full((len(symbols), len(SYMBOLS)), (1 - sure) / (len(SYMBOLS) - 1), np.float32)
    rows[np.arange(len(symbols)), list(symbols)] = sure
    return rows


@pytest.mark.parametrize(
    ("path", "text"),
    [((1, 1, 0, 1, 2), "aab"), ((0, 0, 0), ""), ((2, 2, 2), "b"), ((1, 0, 3, 3, 0, 2), "a b"), ((0, 1, 0), "a")],
)
def test_repeats_merge_unless_a_blank_lies_between(path: tuple[int, ...], text: str) -> None:
    assert ctc.decode(steps(*path), SYMBOLS)[0] == text


def test_the_score_is_the_mean_over_the_characters() -> None:
    probabilities = np.concatenate([steps(1, sure=0.9), steps(0, sure=0.5), steps(2, sure=0.7)])
    assert ctc.decode(probabilities, SYMBOLS)[1] == pytest.approx(0.8)
    assert ctc.decode(steps(0, 0), SYMBOLS)[1] == 0.0


def quad(left: float, top: float, width: float = 100, height: float = 20, angle: float = 0.0) -> np.ndarray:
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - (width / 2, height / 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return corners @ turn + (left + width / 2, top + height / 2)


def test_rows_from_the_top_and_within_them_from_the_left() -> None:
    quads = np.stack([quad(200, 53), quad(0, 100), quad(0, 50), quad(0, 0), quad(200, 3)])
    assert reading_order(quads) == [3, 4, 2, 0, 1]
    assert reading_order(np.zeros((0, 4, 2))) == []


def test_the_order_does_not_depend_on_how_lines_were_met() -> None:
    quads = np.stack([quad(x, y + 2 * (x > 0)) for y in range(0, 200, 40) for x in (0, 150)])
    shuffled = np.random.default_rng(1).permutation(len(quads))
    assert [int(shuffled[index]) for index in reading_order(quads[shuffled])] == list(range(len(quads)))


def test_a_turned_page_is_read_along_its_lines() -> None:
    upright = np.stack([quad(x, y) for y in (0, 40, 80) for x in (0, 150)])
    for angle in (np.pi / 2, np.pi, -0.1):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        assert reading_order(upright @ turn) == list(range(len(upright))), angle


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Of upright rectangles."""
    low, high = np.maximum(one.min(0), two.min(0)), np.minimum(one.max(0), two.max(0))
    both = np.prod(high - low)
    return float(both / (np.prod(np.ptp(one, 0)) + np.prod(np.ptp(two, 0)) - both))


def test_boxes_are_those_that_rapidocr_finds() -> None:
    pytest.importorskip("cv2")
    post = pytest.importorskip("rapidocr.ch_ppocr_det.utils").DBPostProcess
    from handlers.text.db import find_boxes

    generator = np.random.default_rng(5)
    map_ = np.zeros((160, 320), np.float32)
    for top in (20, 70, 120):
        width = int(generator.integers(80, 280))
        map_[top : top + 14, 15 : 15 + width] = 0.9
    theirs = post(thresh=0.3, box_thresh=0.5, max_candidates=1000, unclip_ratio=1.6)
    boxes, scores = theirs(map_[None, None], (160, 320))
    found = find_boxes(map_, 0.3, 0.5, 1.6)
    assert len(found.quads) == len(boxes) == 3
    ours = found.quads[np.argsort(found.quads[:, 0, 1])]
    other = np.array(boxes, np.float64)[np.argsort(np.array(boxes)[:, 0, 1])]
    for one, two in zip(ours, other, strict=True):  # theirs are made of pixels, ours of the edges between them
        assert np.abs(one - two).max() <= 3 and _overlap(one, two) > 0.9
    assert np.abs(np.sort(found.scores) - np.sort(scores)).max() < 0.1  # the border counts half in ours
