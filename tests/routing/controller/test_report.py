"""What the controller compares, and how the report shows it: from real predictions and images to the page."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handlers.recording.images import image_name
from routing.controller.report_file import gather
from routing.controller.seen import Seen, read_seen, write_seen
from routing.controller.store_book import StoreBook
from routing.observations import Rate, ShadowSeen
from routing.plan.model import RoutePlan
from routing.report.page import render
from routing.rollout import control
from routing.rollout.state import RolloutState
from routing.verdict.judge import judge
from serving.json_log import open_log
from slipway.settings import Settings
from tests.routing.report.reading import Page
from tests.routing.store.database import T0, predicted

BOTH = RoutePlan.model_validate({"canary": 2, "share": 0.1, "shadow": {"version": 3}, "keep_images": True})


@pytest.fixture
def settings(settings: Settings, database_url: str) -> Settings:
    return settings.model_copy(update={"database_url": database_url})


@pytest.fixture
def book(settings: Settings) -> Iterator[StoreBook]:
    book = StoreBook(settings, open_log("routing", settings.state_dir / "logs"))
    yield book
    book.close()


def picture(colour: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(stream, "png")
    return stream.getvalue()


def predict(settings: Settings, at: float, *lines: tuple[str, int, str]) -> None:
    """Notes and images as handlers write them: (request id, version, label), a label of ``!CODE`` for a failure."""
    folder = settings.state_dir / "predictions"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in {name for name, _, _ in lines}:
        (folder / "images" / image_name(name, 0)).write_bytes(picture(len(name)))
    with (folder / "41.jsonl").open("a") as stream:
        for name, version, label in lines:
            failed = {"code": label[1:], "summary": None} if label.startswith("!") else {}
            stream.write(predicted(name, version, at - T0, label, **failed))


def passed(book: StoreBook, state: RolloutState) -> None:
    book.collect()
    book.compare(state)


def images_shown(page: Page) -> list[np.ndarray]:
    sources = [image["src"].split(",", 1)[1] for image in page.named("img")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")) for source in sources]


def test_the_worst_are_shown_side_by_side_also_when_the_recorder_has_forgotten_them(
    settings: Settings, book: StoreBook
) -> None:
    state = control.start(settings, "digits", BOTH)
    at = state.started + 3
    predict(settings, at, ("a", 1, "7"), ("a", 2, "1"), ("same", 1, "7"), ("same", 2, "7"), ("same", 3, "7"))
    predict(settings, at, ("bb", 1, "7"), ("bb", 3, "4"), ("failed", 1, "7"), ("failed", 3, "!NETWORK_FAILED"))
    passed(book, state)
    for path in (settings.state_dir / "predictions" / "images").iterdir():
        path.unlink()
    found = gather(settings, state)
    assert [(item.request_id, item.left.version, item.right.version) for item in found.disagreements] == [
        ("a", 1, 2),
        ("bb", 1, 3),
    ]
    page = Page(render(found))
    assert [int(image[0, 0, 0]) for image in images_shown(page)] == [1, 2]
    assert "Version 1 stable" in page.text and "Version 3 shadow" in page.text


def test_a_shadow_is_seen_beside_the_canary_with_what_it_failed(settings: Settings, book: StoreBook) -> None:
    state = control.start(settings, "digits", BOTH)
    at = state.started + 3
    assert book.observe(state).shadow == ShadowSeen(3)
    predict(settings, at, *((name, version, "7") for name in "abc" for version in (1, 2, 3)))
    predict(settings, at, ("odd", 1, "7"), ("odd", 3, "4"), ("e1", 1, "7"), ("e1", 3, "!NETWORK_FAILED"))
    predict(settings, at, ("e2", 1, "7"), ("e2", 3, "!HANDLER_FAILED"), ("e3", 1, "7"), ("e3", 3, "!NETWORK_FAILED"))
    # of both: the image's fault; of the stable version alone: nothing to hold against the shadow
    predict(settings, at, ("bad", 1, "!IMAGE_CORRUPT"), ("bad", 3, "!IMAGE_CORRUPT"))
    predict(settings, at, ("lone", 1, "!NETWORK_FAILED"), ("lone", 3, "7"), ("before", 1, "7"))
    predict(settings, state.started - 60, ("old", 1, "7"), ("old", 3, "!NETWORK_FAILED"))
    passed(book, state)
    seen = book.observe(state)
    assert seen.shadow == ShadowSeen(3, 7, {"NETWORK_FAILED": 2, "HANDLER_FAILED": 1}, Rate(4, 3))
    write_seen(settings, Seen.of(state, seen, judge(seen, state.plan.rules), at))
    found = read_seen(settings, "digits", state.experiment)
    assert found is not None and found.shadow is not None
    assert (found.shadow["version"], found.shadow["copies"]) == (3, 7)


def test_what_is_old_goes_from_the_report_too(
    settings: Settings, book: StoreBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = control.start(settings, "digits", BOTH)
    predict(settings, state.started + 3, ("a", 1, "7"), ("a", 2, "1"))
    passed(book, state)
    book.tidy()
    assert len(gather(settings, state).disagreements) == 1
    monkeypatch.setattr("routing.controller.store_book.DAYS", -1)
    book.tidy()
    assert gather(settings, state).disagreements == ()
    assert list((settings.state_dir / "routing" / "worst").iterdir()) == []


def test_a_disk_that_takes_no_pictures_does_not_keep_the_verdict(settings: Settings, book: StoreBook) -> None:
    state = control.start(settings, "digits", BOTH)
    Path(settings.state_dir / "routing").mkdir(exist_ok=True)
    Path(settings.state_dir / "routing" / "worst").write_text("no folder")
    predict(settings, state.started + 3, ("a", 1, "7"), ("a", 2, "1"))
    passed(book, state)
    assert gather(settings, state).disagreements == ()
