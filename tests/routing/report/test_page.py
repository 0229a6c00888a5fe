"""The page: everything that is known, nothing that runs or loads, readable by people, screen readers and phones."""

import dataclasses
import math
import re
from typing import Any

import pytest

from routing.report.data import (
    Answer,
    ArmRow,
    Band,
    Curve,
    Disagreement,
    Failure,
    Outcome,
    PastVerdict,
    ReportData,
    StepRow,
    Traffic,
    VerdictView,
    Versions,
)
from routing.report.page import MOST_DISAGREEMENTS, MOST_ROWS, render
from tests.routing.report.example import T0, example, picture
from tests.routing.report.reading import ADDRESSES, Page

HOSTILE = "\"'></style></svg><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;{{7*7}}\x00\u202e\ud800"
NAN = math.nan


@pytest.fixture(scope="module")
def html() -> str:
    return render(example())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def minimal(**changes: Any) -> ReportData:
    return dataclasses.replace(ReportData("digits", "e1", "salt", "running", Versions(1, 2)), **changes)


@pytest.mark.parametrize(
    "words",
    [
        "digits: version 2 against version 1 aborted",
        "Experiment digits-2-20261118 , salt 9f2c41d0",
        "Reached step 3 of 5: 25.00 % of the units for the canary.",
        "Verdict: abort",
        "Version 2 fails at least 0.5 points more often than version 1, and 0.5 is allowed.",
        "Units fall as declared (p = 0.42).",
        "No NaN in 21,013 answers.",
        "clients saw 3 of these failures",
        "I nvoice 1 0 <7>/2026",
        "failed: NETWORK_FAILED",
        "slipway route digits --status --html report.html",
        "clicked 1 stable 5,000 620 12.40 %",
    ],
)
def test_says(page: Page, words: str) -> None:
    assert words in page.text


def test_arms(page: Page) -> None:
    data = example()
    canary = data.arms[1]
    assert f"2 canary 25.00 % {canary.units:,} {canary.requests:,} {canary.errors}" in page.text
    assert f"{100 * canary.error_lower:.2f} % to {100 * canary.error_upper:.2f} %" in page.text
    assert f"of {canary.labelled} labelled" in page.text


def test_the_current_step_is_marked(page: Page) -> None:
    assert [row["aria-current"] for row in page.named("tr") if "aria-current" in row] == ["step"]
    assert "3 (current) 25.00 %" in page.text


def test_needs_nothing_else(html: str, page: Page) -> None:
    for address in page.values(*ADDRESSES):
        assert address.startswith(("data:image/", "#")), address[:80]
    assert "@import" not in html
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", html))
    assert not page.named("script") and not page.named("link") and not page.handlers()
    policy = next(
        meta["content"] for meta in page.named("meta") if "content-security" in meta.get("http-equiv", "").lower()
    )
    assert policy.startswith("default-src 'none'")


def test_is_small_and_the_same_again(html: str) -> None:
    assert len(html.encode()) < 400_000
    assert render(example()) == html


def test_phones_and_dark(html: str, page: Page) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    assert "prefers-color-scheme: dark" in html
    tables, regions = len(page.named("table")), [box for box in page.named("div") if box.get("role") == "region"]
    assert tables == len(regions) > 5
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in regions)
    assert "currentColor" in html and "#010203" not in html


def test_screen_readers(page: Page) -> None:
    assert page.named("html") == [{"lang": "en"}]
    assert page.named("img") and all(image["alt"].strip() for image in page.named("img"))
    assert len(page.named("svg")) == 6
    assert all(drawn["role"] == "img" and len(drawn["aria-label"]) > 20 for drawn in page.named("svg"))
    headers = page.named("th")
    assert headers and all(header.get("scope") in ("col", "row") for header in headers)
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def hostile(value: Any) -> Any:
    """``value`` with every text in it made hostile, those of tasks left alone."""
    if isinstance(value, str):
        return HOSTILE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in dataclasses.fields(value) if entry.name not in ("task", "unit")]
        return dataclasses.replace(value, **{name: hostile(getattr(value, name)) for name in names})
    if isinstance(value, (tuple, list)):
        return type(value)(hostile(item) for item in value)
    if isinstance(value, dict):
        return {key: item if key in ("vector", "grid") else hostile(item) for key, item in value.items()}
    return value


def test_hostile_texts_stay_texts(page: Page) -> None:
    honest, html = page, render(hostile(example()))
    html.encode()
    page = Page(html)
    assert not page.named("script") and not page.handlers()

    # marks differ with the texts; nothing else does
    def count(found: Page) -> list[str]:
        return [tag for tag, _ in found.elements if tag in ("img", "svg", "table", "tr", "article", "figure", "style")]

    assert count(page) == count(honest)
    assert page.text.count("<script>alert('1')</script>") > 100
    assert "{{7*7}}" in page.text
    for unseen in ("\x00", "\u202e", "\ud800"):
        assert unseen not in html
    assert "␀" in page.text


def test_hostile_summaries_are_shown_as_they_are() -> None:
    odd: list[Any] = [
        {}, {"label": None}, {"labels": 3}, {"boxes": [[1, 2, 3]]}, {"boxes": [[NAN, 0, 1, 1]]}, {"boxes": "abc"},
        {"boxes": [[0, 0, 1e300, 1e300]], "labels": ["x" * 10_000]}, {"text": 4}, {"vector": "?"}, {"vector": ""},
        {"areas": []}, {"areas": {"a": "b"}}, {"areas": {}, "grid": "AAAA"}, [1, 2], "text",
        {"boxes": [[5, 5, 1, 1]] * 5000, "scores": [0.5] * 5000}, {"label": "7", "top": [["7"]]},
    ]  # fmt: skip
    tasks = ("classification", "detection", "faces", "ocr", "embedding", "segmentation", "unheard-of")
    for task in tasks:
        for start in range(0, len(odd), MOST_DISAGREEMENTS):
            items = tuple(
                Disagreement(f"r{place}", task, Answer(1, summary), Answer(2, odd[place - 1]), image=b"GIF8 no picture")
                for place, summary in enumerate(odd[start : start + MOST_DISAGREEMENTS])
            )
            page = Page(render(minimal(disagreements=items)))
            assert len(page.named("article")) == len(items)
            assert "The image cannot be shown." in page.text


def test_a_flood_stays_below_a_megabyte() -> None:
    long = "<" * 100_000
    photo = picture((1600, 1200), "jpeg")
    boxes = {"boxes": [[i, i, i + 300, i + 300] for i in range(100)], "labels": [long] * 100, "scores": [0.5] * 100}
    data = minimal(
        reasons=(long,) * 500,
        steps=tuple(StepRow(0.1, 1.0, T0 + i) for i in range(500)),
        arms=tuple(ArmRow(i) for i in range(500)),
        verdict=VerdictView("hold", (long,) * 50),
        history=tuple(PastVerdict(T0 + i, 0, "hold", long) for i in range(5000)),
        traffic=tuple(Traffic(T0 + i, v, 100 + i % 7, i % 3, 5.5, 9.25) for i in range(20_000) for v in (1, 2)),
        interval=1.0,
        error_rates=(Curve("errors", tuple(Band(T0 + i, 0.01, 0.0, 0.02) for i in range(20_000)), "rate", 2),),
        outcomes=tuple(Outcome(long, 1, 10, 5) for _ in range(500)),
        failures=tuple(Failure(long, T0, 2, long, 1) for _ in range(500)),
        disagreements=tuple(
            Disagreement(long, "detection", Answer(1, boxes), Answer(2, boxes), image=photo) for _ in range(200)
        ),
    )
    html = render(data)
    assert len(html.encode()) < 1_000_000
    page = Page(html)
    assert len(page.named("article")) == MOST_DISAGREEMENTS
    assert f"{MOST_DISAGREEMENTS} of 200 are shown" in page.text
    assert f"The newest {MOST_ROWS} of 5000." in page.text


def test_nothing_yet() -> None:
    page = Page(render(minimal()))
    assert not page.named("svg") and not page.named("table")
    for words in (
        "No verdict yet",
        "No request of this experiment was seen yet.",
        "Nothing to draw yet.",
        "No disagreement is known.",
        "No verdict was made yet.",
    ):
        assert words in page.text


def test_one_point_is_seen() -> None:
    data = minimal(
        steps=(StepRow(0.1, 60.0, T0),),
        traffic=(Traffic(T0, 1, 9, 0, 5.0, 6.0), Traffic(T0, 2, 1, 1, 5.0, 6.0)),
        agreements=(Curve("agreement", (Band(T0, 1.0, 0.2, 1.0),)),),
    )
    page = Page(render(data))
    assert len(page.named("svg")) == 5
    assert any("last 10.00 % of the requests" in drawn["aria-label"] for drawn in page.named("svg"))


def test_what_is_not_known_is_a_dash() -> None:
    infinite = math.inf
    data = minimal(
        started=NAN,
        ended=infinite,
        steps=(StepRow(NAN, NAN, NAN, 1e300), StepRow(0.5, -1.0, -5.0)),
        arms=(ArmRow(2, NAN, None, 0, 0, NAN, NAN, NAN, infinite),),
        interval=NAN,
        traffic=(Traffic(NAN, 1, 5), Traffic(T0, 1, 0, 0, NAN, NAN), Traffic(T0, 2, 0)),
        error_rates=(Curve("errors", (Band(T0, NAN, NAN, NAN), Band(NAN, 0.5)), "rate", 2),),
        differences=(Curve("p99", (Band(T0, 3.0, None, NAN), Band(T0 + 1, 1.0, 0.0, infinite)), "ms", None, NAN),),
    )
    page = Page(render(data))
    assert not re.search(r"\bnan\b|\binf\b|None", page.text, re.IGNORECASE)
    assert "2 canary – – 0 0 – – – – –" in page.text


def test_a_shadow_alone_has_no_split() -> None:
    page = Page(render(minimal(versions=Versions(1, None, 3), traffic=(Traffic(T0, 1, 5),))))
    assert "digits: version 3 against version 1" in page.text
    assert "clients see the stable version alone" in page.text


def test_says_what_is_missing() -> None:
    assert "the database does not answer" in Page(render(minimal(problem="the database does not answer"))).text
