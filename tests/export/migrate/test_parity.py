"""Differences are found, by what the answers of each task mean."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from export.migrate import parity
from export.migrate.asked import Asked
from handlers.documents import difference
from handlers.geometry import place
from handlers.masks import png
from slipway.contract import Preprocess


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_labels() -> None:
    record = {"labels": ["cat", "dog", "crane [134]"], "scores": [0.7, 0.2, 0.1]}
    names = {"crane [134]": "crane"}

    def row(expected: dict[str, float]) -> parity.Row:
        return parity.compare_labels("a", dumped(expected), record, names, 0.01)

    assert row({"cat": 0.7, "dog": 0.2, "crane": 0.1}).same
    assert row({"cat": 0.705, "dog": 0.195, "crane": 0.1}).worst_difference == pytest.approx(0.005)
    assert not row({"cat": 0.68, "dog": 0.22, "crane": 0.1}).same
    assert "best label" in row({"dog": 0.7, "cat": 0.2, "crane": 0.1}).note
    # another label at the end of the list, as unlikely as the one that it replaces
    assert row({"cat": 0.7, "dog": 0.2, "owl": 0.101}).same
    assert not row({"cat": 0.7, "dog": 0.2, "owl": 0.15}).same


def test_boxes() -> None:
    record = {"labels": ["cat", "dog"], "scores": [0.9, 0.6], "boxes": [[0, 0, 10, 10], [5, 5, 9, 9]]}
    cat, dog = {"cat": [0, 0, 10, 10.5], "score": 0.9}, {"dog": [5, 5, 9, 9], "score": 0.6}

    def row(*expected: dict[str, Any]) -> parity.Row:
        return parity.compare_boxes("a", dumped(expected), record, {}, 0.01)

    assert row(dog, cat).same
    assert row(cat, dog).worst_pixels == 0.5
    assert not row(cat).same
    assert not row(cat, dog, {"cat": [20, 20, 30, 30], "score": 0.8}).same
    assert not row(cat, {"dog": [5, 5, 15, 9], "score": 0.6}).same
    assert not row({"cat": [0, 0, 10, 10], "score": 0.8}, dog).same
    # at the threshold either side may have it
    assert row(cat, dog, {"cat": [20, 20, 30, 30], "score": 0.505}).same
    assert parity.compare_boxes("a", b"[]", {"labels": [], "scores": [], "boxes": []}, {}, 0.01).same


def test_masks() -> None:
    shape = Preprocess(224, 224, "shorter_side", 256)
    placement = place((512, 512), shape)
    expected = np.zeros((224, 224, 2))
    expected[:, 112:, 0] = 1

    def row(edge: int) -> parity.Row:
        mask = np.zeros((512, 512), np.uint8)
        mask[:, edge:] = 1
        return parity.compare_masks("a", dumped(expected.tolist()), {"mask": png(mask)}, placement, 0.01)

    assert row(256).worst_difference == 0
    assert row(257).same
    assert not row(266).same
    assert row(300).worst_difference == pytest.approx((300 - 256) / 2 / 224, abs=0.01)


def test_documents() -> None:
    one = dumped({"digit": "one", "scores": [0.5, 1], "ok": True})
    assert difference(one, dumped({"ok": True, "scores": [0.5, 1.25], "digit": "one"})) == 0.25
    others: list[Any] = [
        {"digit": "two", "scores": [0.5, 1], "ok": True},
        {"digit": "one", "scores": [0.5], "ok": True},
        {"digit": "one", "scores": [0.5, 1], "ok": 1},
        {"digit": "one", "scores": [0.5, 1]},
        None,
    ]
    assert [difference(one, dumped(other)) for other in others] == [None] * 5
    assert difference(b"\x89PNG", b"\x89PNG") == 0
    assert difference(b"\x89PNG", b"\x89PNX") is None
    assert difference(b"[" * 100_000, b"[" * 99_999) is None
    assert parity.compare_bytes("a", one, one, 0).same


def test_sides_without_an_answer() -> None:
    there, none = Asked(b"{}"), Asked(None, "status 415")
    assert parity.unanswered("a", there, None) is None
    only_here, only_there = parity.unanswered("a", none, None), parity.unanswered("a", there, "IMAGE_CORRUPT")
    neither = parity.unanswered("a", none, "IMAGE_CORRUPT")
    assert only_here is not None and only_there is not None and neither is not None
    assert (only_here.same, only_there.same, neither.same) == (None, False, None)
    assert not parity.holds([only_here])
    assert not parity.holds([])
    assert not parity.holds([neither, only_there])
    # two sides that say nothing have shown nothing
    assert not parity.holds([neither, only_here])
    answered = parity.compare_bytes("b", b"{}", b"{}", 0.01)
    assert parity.holds([neither, only_here, answered])
