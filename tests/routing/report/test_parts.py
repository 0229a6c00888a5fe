"""Numbers, series and pictures of the report."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from routing.report import words
from routing.report.answers import Piece, pair, pairs
from routing.report.data import Answer, Disagreement, ReportData, Traffic, Versions
from routing.report.drawing import canvas, time_axis
from routing.report.pictures import LONGEST_SIDE, Budget, label_map, opened, with_boxes
from routing.report.series import MOST_POINTS, by_start, coarse
from tests.routing.report.example import T0, grid, picture

PLENTY = 1_000_000


def data(*traffic: Traffic, interval: float = 10.0) -> ReportData:
    return ReportData("digits", "e1", "s", "running", Versions(1, 2), traffic=traffic, interval=interval)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.percent(0.0124), "1.24 %"),
        (words.percent(0.0), "0 %"),
        (words.percent(0.000012), "0.0012 %"),
        (words.points(0.003), "+0.30 points"),
        (words.points(-0.01), "-1.00 points"),
        (words.milliseconds(1234.5), "1234 ms"),
        (words.count(1234567), "1,234,567"),
        (words.between(0.1, None, "rate"), "at least 10.00 %"),
        (words.between(None, None, "rate"), ""),
        (words.duration(90), "90 s"),
        (words.duration(12_000), "3 h 20 min"),
        (words.duration(187_200), "2 d 4 h"),
        (words.moment(0), "1970-01-01 00:00:00"),
        (words.clean("a\u202eb\x07"), "a\N{REPLACEMENT CHARACTER}b␇"),
        (words.clean("Größe 图 é"), "Größe 图 é"),
        (words.clean("x" * 50, 10), "xxxxxxxxx…"),
    ],
)
def test_words(shown: str, expected: str) -> None:
    assert shown == expected


def test_many_pieces_become_few_and_lose_no_request() -> None:
    rows = [Traffic(T0 + 10 * i, 1 + i % 2, 3, 1, 5.0, float(i)) for i in range(5000)]
    found = coarse(data(*rows))
    assert len({row.start for row in found.traffic}) <= MOST_POINTS + 1
    assert found.interval % 10 == 0
    assert sum(row.requests for row in found.traffic) == 15_000
    assert sum(row.errors for row in found.traffic) == 5000
    assert max(row.p99_ms or 0 for row in found.traffic) == 4999
    assert {row.p50_ms for row in found.traffic} == {5.0}


def test_few_pieces_stay_as_they_are() -> None:
    rows = (Traffic(T0, 1, 3), Traffic(T0 + 10, 2, 4))
    assert coarse(data(*rows)).traffic == rows


def test_a_pause_is_no_traffic() -> None:
    starts, found = by_start(data(Traffic(T0, 1, 30), Traffic(T0 + 100, 1, 40)))
    assert starts == [T0, T0 + 10, T0 + 100]
    assert found[1].tolist() == [30, 0, 40]


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.mark.parametrize(
    ("size", "longest"), [((1600, 900), 320), ((64, 64), 160), ((300, 200), 300), ((5000, 3), 320)]
)
def test_pictures_are_small_but_seen(size: tuple[int, int], longest: int) -> None:
    found = opened(picture(size))
    assert found is not None
    shown = Budget(PLENTY).shown(found[0])
    assert shown is not None
    assert max(shown.size) == longest <= LONGEST_SIDE
    assert decoded(shown.uri).size == shown.size


def test_the_budget_is_kept() -> None:
    item = Disagreement("r", "classification", Answer(1, {"label": "a"}), Answer(2, {"label": "b"}), image=picture())
    free = pairs([item], 5, PLENTY)[0].picture
    assert free is not None
    found = pairs([item] * 5, 5, int(2.5 * len(free.uri)))
    assert [entry.picture is not None for entry in found] == [True, True, False, False, False]
    assert found[-1].note == "The image is left out to keep this file small."


def test_boxes_are_drawn_where_they_are() -> None:
    flat = Image.new("RGB", (640, 320), (128, 128, 128))
    stream = io.BytesIO()
    flat.save(stream, "png")
    found = with_boxes(opened(stream.getvalue()), {"boxes": [[400, 100, 600, 300]]}, {})
    assert found is not None and found.size == (320, 160)
    changed = np.argwhere((np.asarray(found) != 128).any(-1))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert (abs(left - 200) <= 4, abs(top - 50) <= 4) == (True, True)
    assert (abs(right - 300) <= 4, abs(bottom - 150) <= 4) == (True, True)


def test_boxes_are_drawn_without_an_image() -> None:
    own, other = {"boxes": [[0, 0, 1000, 500]], "labels": ["7"], "scores": [0.5]}, {"boxes": [[0, 0, 9, 1000]]}
    found, beside = with_boxes(None, own, other), with_boxes(None, other, own)
    assert found is not None and beside is not None and found.size == beside.size == (320, 320)
    assert with_boxes(None, {"boxes": []}, {"boxes": []}) is None
    assert found.getcolors(10_000) and len(found.getcolors(10_000) or ()) > 3


def test_label_map_has_a_colour_for_each_label() -> None:
    assert len(label_map(grid(30)).getcolors() or ()) == 3


def test_characters_that_differ_are_marked() -> None:
    item = Disagreement("r", "ocr", Answer(1, {"text": "cat 10"}), Answer(2, {"text": "cut 10!"}))
    left, right = pair(item, Budget(PLENTY)).sides
    assert left.pieces == (Piece("c"), Piece("a", True), Piece("t 10"))
    assert right.pieces == (Piece("c"), Piece("u", True), Piece("t 10"), Piece("!", True))


def test_labels_that_differ_are_marked() -> None:
    left = {"label": "7", "top": [["7", 0.9], ["1", 0.1]]}
    item = Disagreement("r", "classification", Answer(1, left), Answer(2, {"label": "1", "score": 0.5}))
    sides = pair(item, Budget(PLENTY)).sides
    assert [(line.name, line.value, line.differs) for line in sides[0].lines] == [
        ("7", "90.00 %", True),
        ("1", "10.00 %", False),
    ]
    assert [(line.name, line.differs) for line in sides[1].lines] == [("1", True)]
    same = dataclasses.replace(item, right=Answer(2, left))
    assert not any(line.differs for line in pair(same, Budget(PLENTY)).sides[0].lines)


def test_counts_that_differ_are_marked() -> None:
    def found(*labels: str) -> dict:
        return {"count": len(labels), "boxes": [[0, 0, 9, 9]] * len(labels), "labels": list(labels)}

    item = Disagreement("r", "detection", Answer(1, found("a", "a", "b")), Answer(2, found("a", "b")))
    sides = pair(item, Budget(PLENTY)).sides
    assert [(line.name, line.value, line.differs) for line in sides[0].lines] == [
        ("found", "3", True),
        ("a", "2", True),
        ("b", "1", False),
    ]


@pytest.mark.filterwarnings("error")
def test_the_axis_shows_times_of_any_range() -> None:
    with canvas() as (_, axes):
        for seconds in (0, 0.5, 7, 45, 170, 1000, 3600, 10_400, 50_000, 249_000, 400_000, 2e6, 7.6e6, 3e7, 3e8):
            time_axis(axes, T0, T0 + seconds)
            assert 2 <= len(axes.xaxis.get_majorticklocs()) <= 14, seconds
