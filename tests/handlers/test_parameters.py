"""Parameters of requests: numbers, flags and lists, from JSON or as text."""

from __future__ import annotations

import pytest

from handlers.parameters import choice, flag, integer, names, number
from slipway.errors import RequestInvalid


@pytest.mark.parametrize(("value", "expected"), [(3, 3), ("3", 3), (" 7 ", 7), (None, 5)])
def test_integer(value: object, expected: int) -> None:
    assert integer({"top_k": value}, "top_k", 5, 1, 10) == expected


@pytest.mark.parametrize("value", [True, 3.0, "x", "3.5", "", [3], "9" * 5000, -1, 0, 11, "11"])
def test_no_integer_or_out_of_range(value: object) -> None:
    with pytest.raises(RequestInvalid, match="top_k") as caught:
        integer({"top_k": value}, "top_k", 5, 1, 10)
    assert len(str(caught.value)) < 300 and caught.value.expected


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0.5), ("0.25", 0.25), (1, 1.0), (None, 0.7)])
def test_number(value: object, expected: float) -> None:
    assert number({"score_threshold": value}, "score_threshold", 0.7, 0, 1) == expected


@pytest.mark.parametrize("value", [True, "nan", "inf", "x", "", [0.5], 2, -0.1, "1e400", 10**400])
def test_no_number_or_out_of_range(value: object) -> None:
    with pytest.raises(RequestInvalid, match="score_threshold"):
        number({"score_threshold": value}, "score_threshold", 0.7, 0, 1)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("false", False), ("TRUE", True), ("0", False), (1, True)]
)
def test_flag(value: object, expected: bool) -> None:
    assert flag({"tile": value}, "tile", not expected) is expected
    assert flag({}, "tile", expected) is expected


@pytest.mark.parametrize("value", ["yes", "", 2, [True]])
def test_no_flag(value: object) -> None:
    with pytest.raises(RequestInvalid, match="tile"):
        flag({"tile": value}, "tile", False)


def test_choice() -> None:
    assert choice({"encoding": "rle"}, "encoding", "png", ("png", "rle")) == "rle"
    assert choice({}, "encoding", "png", ("png", "rle")) == "png"
    with pytest.raises(RequestInvalid, match="encoding"):
        choice({"encoding": ["png"]}, "encoding", "png", ("png", "rle"))


@pytest.mark.parametrize("value", ["b, a,b", ["b", "a"], ("b", "a")])
def test_names(value: object) -> None:
    assert names({"classes": value}, "classes", ("a", "b", "c")) == ("b", "a")
    assert names({}, "classes", ("a",)) is None


@pytest.mark.parametrize("value", ["", "d", [], 3, ["a", 7], {"a": 1}])
def test_no_names(value: object) -> None:
    with pytest.raises(RequestInvalid, match="classes"):
        names({"classes": value}, "classes", ("a", "b", "c"))


@pytest.mark.parametrize("value", [["c999"] * 1001, "c999," * 1000, ["x" * 10] * 300_000, "," * 300_000])
def test_more_names_than_there_are_is_refused_by_their_number(value: object) -> None:
    known = [f"c{at}" for at in range(1000)]
    with pytest.raises(RequestInvalid, match=r"has \d+ names"):
        names({"classes": value}, "classes", known)
    assert names({"classes": known}, "classes", known) == tuple(known)
    assert names({"classes": ["c1", "c1"]}, "classes", known) == ("c1",)
