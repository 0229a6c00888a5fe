"""evidence.html: everything that evidence.json says, in one valid file, whatever its age and whatever failed."""

import copy
import json
import re
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from export.report import charts
from export.report.page import render
from export.report.reading import number, text
from samples.photos.originals import original

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checked(HTMLParser):
    """Every tag is closed in order; collects ids, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.ids, self.addresses, self.words = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [value for key, value in named.items() if key in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def parity(name, scale, sqnr, passed=True):
    by_size = {"1": scale, "2": scale * 1.1, "8": scale * 1.2} if name == "onnx" else {"1": sqnr, "8": sqnr - 0.5}
    measured = {"scale": 9.5, "by_batch_size": by_size, "sqnr_db": sqnr, "agreement": 0.99}
    threshold = {"max_relative_difference": 1e-4} if name == "onnx" else {"min_sqnr_db": 9.0}
    reason = None if passed else "logits differ <b>a lot</b>"
    return {"name": "parity", "format": name, "passed": passed, "measured": measured, "threshold": threshold,
            "reason": reason, "found": f"{scale:.1e} of scale", "allowed": "as asked"}  # fmt: skip


def task(name, lost):
    disagreements = [{"image": f"7_{i:04d}.png", "label": "7", "trained": "7", "exported": "1"} for i in range(lost)]
    measured = {
        "n": 400,
        "trained": 0.99,
        "exported": 0.99 - lost / 400,
        "drop": lost / 400,
        "upper": lost / 400 + 0.003,
        "margin": 0.005,
        "lost": lost,
        "gained": 0,
        "agreement": 1 - lost / 400,
        "disagreements": disagreements,
    }
    return {"name": "task", "format": name, "passed": lost < 2, "measured": measured, "threshold": {"margin": 0.005},
            "reason": None if lost < 2 else "it loses", "found": "found", "allowed": "allowed"}  # fmt: skip


def speed(name, ms):
    times = {"ms_per_image": ms, "p10": ms * 0.9, "p90": ms * 1.2, "megabytes": 1.0}
    against = {"name": "eager", "ms_per_image": 12.0, "p10": 11.0, "p90": 14.0, "megabytes": 4.0}
    return {"name": "speed", "format": name, "passed": True, "measured": {**times, "against": against},
            "threshold": {"min_speedup": 1.5}, "reason": None, "found": f"{ms} ms", "allowed": ">= 1.5"}  # fmt: skip


@pytest.fixture
def evidence():
    return {
        "schema": 1,
        "model": "digits",
        "created": "2026-01-02T03:04:05+00:00",
        "passed": False,
        "source": {"description": "factory a.b:build", "weights": "ab" * 32, "tools": {"torch": "2.13.0", "onnx": "1"}},
        "contract_hash": "cd" * 32,
        "images": {"count": 454, "labelled": True, "classes": 10},
        "thresholds": {"parity": {"images": 16, "batch_sizes": [1, 2, 8]}, "speed": None},
        "calibration": {"images": 64},
        "formats": [
            {"format": "onnx", "file": "model.onnx", "bytes": 2_000_000, "sha256": "12" * 32, "seconds": 1.5,
             "details": {"opset": 18}, "companions": {}},
            {"format": "openvino-int8", "file": "model.xml", "bytes": 600_000, "sha256": "34" * 32, "seconds": 9.5,
             "details": {"kept": ["conv1"]}, "companions": {"model.bin": "56"}},
        ],
        "gates": [
            parity("onnx", 3e-7, 130.0),
            task("onnx", 0),
            speed("onnx", 4.0),
            parity("openvino-int8", 0.03, 28.0, passed=False),
            task("openvino-int8", 3),
            speed("openvino-int8", 1.25),
        ],
        "golden": {"image": "8_0040.png", "label": "8", "margin": 0.995},
        "environment": {"python": "3.11", "machine": "x86_64", "cpus": 2},
    }  # fmt: skip


CHARTS = [
    charts.difference_by_batch,
    charts.signal_to_noise,
    charts.loss_of_the_task,
    charts.agreement,
    charts.time_per_image,
    charts.sizes,
]


def test_page_says_everything_and_needs_nothing(evidence):
    image = original("rocket.jpg").read_bytes()
    html = render(evidence, image)
    page = Checked(html)
    assert "Refused: 2 of 6 gates failed" in page.text
    for words in (
        "openvino-int8 parity",
        "it loses",
        "cd" * 32,
        "ab" * 32,
        "torch",
        "2.13.0",
        "parity.batch_sizes",
        "1, 2, 8",
        "model.xml, model.bin",
        "8_0040.png",
        "0.995",
        "conv1",
        "x86_64",
        "454 labelled of 10",
    ):
        assert words in page.text, words  # fmt: skip
    assert "<b>a lot</b>" not in html
    assert "&lt;b&gt;a lot&lt;/b&gt;" in html
    assert html.count("<svg") == len(CHARTS)
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.findall(r"url\((?!#)", html)
    assert "data:image/jpeg;base64," in html
    assert "prefers-color-scheme: dark" in html
    raw = re.search(r"<pre>(.*)</pre>", html, re.S)[1]
    assert json.loads(unescape(raw)) == evidence


def test_decibels_become_the_ratio_that_they_are(evidence):
    drawn = charts.difference_by_batch(evidence)
    labels = re.findall(r"10\^\{?(-?\d+)|mathdefault\{10\^\{(-?\d+)\}\}", drawn)
    exponents = {int(one or other) for one, other in labels}
    assert min(exponents) <= -6 and -2 in exponents and max(exponents) <= 0


def test_disagreements_are_counted_by_pair(evidence):
    page = Checked(render(evidence))
    found = re.search(r"openvino-int8 7 1 trained (\d) 7_0000.png, 7_0001.png, 7_0002.png", page.text)
    assert found and found[1] == "3"


def test_parts_that_the_page_does_not_know_are_shown_all_the_same(evidence):
    evidence["gates"] = evidence["formats"] = []
    page = Checked(render(evidence | {"kept_layers": {"onnx-int8": {"kept_fp32": ["conv7"]}}}))
    assert "Kept layers onnx-int8.kept_fp32 conv7" in page.text


def test_passed(evidence):
    evidence["gates"] = [gate for gate in evidence["gates"] if gate["passed"]]
    evidence["passed"] = True
    page = Checked(render(evidence))
    assert "All 4 gates passed." in page.text
    assert "FAILED" not in page.text


def test_equal_evidence_gives_equal_pages(evidence):
    assert render(evidence) == render(copy.deepcopy(evidence))


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_are_svg_in_the_pages_colours(evidence, chart):
    drawn = chart(evidence)
    ElementTree.fromstring(drawn)
    assert "currentColor" in drawn
    assert "#010203" not in drawn
    for name in ("onnx", "openvino-int8"):
        assert name in drawn
    ids = re.findall(r'\bid="([^"]+)"', drawn)
    used = re.findall(r'(?:href="|url\()#([^")]+)', drawn)
    assert set(used) <= set(ids)


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_need_their_numbers(chart):
    assert chart({}) is None
    broken = {"formats": [{"format": "onnx", "bytes": None}], "gates": [
        {"name": name, "format": "onnx", "measured": {"by_batch_size": {"1": "inf"}, "drop": "nan", "sqnr_db": "-inf"}}
        for name in ("parity", "task", "speed")
    ]}  # fmt: skip
    assert chart(broken) is None


@pytest.mark.parametrize("missing", ["gates", "formats", "golden", "source", "images", "thresholds", "environment"])
def test_parts_may_be_missing(evidence, missing):
    # without numbers there are no pictures to draw, which take nearly all the time
    evidence["gates"] = [gate | {"measured": {}} for gate in evidence["gates"]]
    evidence["formats"] = [item | {"bytes": None} for item in evidence["formats"]]
    for value in (None, [], {}, "text"):
        Checked(render(evidence | {missing: value}))
    del evidence[missing]
    Checked(render(evidence))


def test_an_evidence_of_the_first_release(evidence):
    """Gate ``accuracy`` instead of ``task``, without limits; no calibration; infinite numbers as text."""
    old = copy.deepcopy(evidence)
    del old["calibration"]
    old["gates"] = [
        {"name": "accuracy", "format": "onnx", "passed": True, "found": "0.99", "allowed": "drop <= 0.005",
         "reason": None, "measured": {"images": 454, "trained": 0.99, "exported": 0.99, "drop": 0.0, "agreement": 1.0},
         "threshold": {"minimum": 0.98, "max_drop": 0.005}},
        {"name": "parity", "format": "onnx", "passed": False, "found": "inf of scale", "allowed": "", "reason": "NaN",
         "measured": {"by_batch_size": {"1": "inf"}, "max_relative_difference": "inf"}, "threshold": {}},
    ]  # fmt: skip
    page = Checked(render(old))
    assert "accuracy" in page.text
    assert charts.loss_of_the_task(old) is not None
    assert charts.difference_by_batch(old) is None
    Checked(render({}))


def test_numbers_and_words():
    assert [number(value) for value in (1, 2.5, True, "inf", None, float("nan"))] == [1.0, 2.5, None, None, None, None]
    assert text({"a": [1, 0.25], "b": None, "c": True, "d": []}) == "a 1, 0.25, c yes"
