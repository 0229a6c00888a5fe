"""The orientation tag in all its spellings, and in none."""

from __future__ import annotations

import struct

import pytest

from handlers.exif import orientation, swaps_sides, upright
from tests.handlers.pictures import picture


def block(order: str, kind: int, value: int, prefix: bytes = b"Exif\x00\x00") -> bytes:
    mark = {"<": b"II*\x00", ">": b"MM\x00*"}[order]
    number = struct.pack(order + ("I" if kind == 4 else "H2x"), value)
    return prefix + mark + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + number


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("prefix", [b"", b"Exif\x00\x00"])
def test_reads_both_byte_orders_short_and_long(order: str, kind: int, prefix: bytes) -> None:
    assert orientation(block(order, kind, 6, prefix)) == 6


@pytest.mark.parametrize("exif", [None, b"", b"Exif\x00\x00", b"nonsense", block("<", 3, 0), block("<", 3, 9), "text"])
def test_anything_else_is_upright(exif: object) -> None:
    assert orientation(exif) == 1


def test_every_cut_is_upright_or_right() -> None:
    whole = block(">", 3, 8)
    assert {orientation(whole[:length]) for length in range(len(whole))} <= {1, 8}


def test_upright_keeps_the_object_where_nothing_is_to_do() -> None:
    image = picture()
    assert upright(image, 1) is image
    assert [swaps_sides(value) for value in range(1, 9)] == [False] * 4 + [True] * 4
