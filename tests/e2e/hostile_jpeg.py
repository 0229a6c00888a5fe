"""JPEGs that are cut, changed in single fields, odd and still right, or made to be slow."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

from PIL import Image

from tests.e2e.hostile_base import ANSWER, EITHER, FAIL, Case, encoded, photograph

_FIRST = {"app0": 0xE0, "tables": 0xDB, "frame": 0xC0, "huffman": 0xC4, "scan": 0xDA}


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_start(good: bytes, *segments: bytes) -> bytes:
    return good[:2] + b"".join(segments) + good[2:]


def at(good: bytes, marker: int) -> int:
    """Where the first segment of this marker begins."""
    return good.index(bytes([0xFF, marker]))


def changed(good: bytes, where: int, *values: int) -> bytes:
    return good[:where] + bytes(values) + good[where + len(values) :]


def exif(entries: bytes, count: int | None = None, following: int = 0) -> bytes:
    number = len(entries) // 12 if count is None else count
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", number) + entries + struct.pack("<I", following)


def orientation(value: int, kind: int = 3) -> bytes:
    return exif(struct.pack("<HHII", 0x0112, kind, 1, value))


def jpegs() -> Iterator[Case]:
    good = encoded("JPEG", quality=90)
    yield from _cut(good)
    yield from _changed(good)
    yield from _odd_and_right(good)
    yield from _slow(good)


def _cut(good: bytes) -> Iterator[Case]:
    for name, marker in _FIRST.items():
        for more, what in ((0, "before"), (2, "at"), (5, "in")):
            yield f"jpeg-cut-{what}-{name}", FAIL, good[: at(good, marker) + more]
    scan = at(good, 0xDA) + 14
    yield "jpeg-without-data", EITHER, good[:scan] + b"\xff\xd9"
    yield "jpeg-without-end", EITHER, good[:-2]
    yield "jpeg-without-start", FAIL, good[2:]
    yield "jpeg-only-start-and-end", FAIL, b"\xff\xd8\xff\xd9"


def _changed(good: bytes) -> Iterator[Case]:
    frame = at(good, 0xC0)
    for name, marker in _FIRST.items():
        for length in (0, 1, 2, 0xFFFF):
            outcome = EITHER if name in ("app0", "tables", "huffman") else FAIL
            yield f"jpeg-{name}-length-{length}", outcome, changed(good, at(good, marker) + 2, *divmod(length, 256))
    for marker in (0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCD, 0xCF):
        yield f"jpeg-frame-{marker:x}", EITHER, changed(good, frame + 1, marker)
    for bits in (0, 1, 7, 12, 16, 255):
        yield f"jpeg-bits-{bits}", FAIL, changed(good, frame + 4, bits)
    for width, height in ((0, 0), (64, 0), (0, 48), (65535, 65535), (65535, 1000)):
        size = struct.pack(">HH", height, width)
        yield f"jpeg-{width}x{height}", FAIL, changed(good, frame + 5, *size)
    for size in ((1, 1), (65535, 1), (1, 65535), (63, 48)):
        yield f"jpeg-claims-{size[0]}x{size[1]}", EITHER, changed(good, frame + 5, *struct.pack(">HH", *size[::-1]))
    for count in (0, 2, 5, 255):
        yield f"jpeg-components-{count}", FAIL, changed(good, frame + 9, count)
    for factor in (0x00, 0x55, 0xFF, 0x14, 0x41):
        yield f"jpeg-sampling-{factor:02x}", EITHER, changed(good, frame + 11, factor)
    yield "jpeg-table-3", EITHER, changed(good, frame + 12, 3)
    yield "jpeg-two-frames", FAIL, good[:frame] + good[frame : frame + 19] + good[frame:]
    for name, marker in _FIRST.items():
        start = at(good, marker)
        length = int.from_bytes(good[start + 2 : start + 4], "big") + 2
        outcome = ANSWER if name == "app0" else FAIL if name in ("frame", "scan") else EITHER
        yield f"jpeg-without-{name}", outcome, good[:start] + good[start + length :]
    scan = at(good, 0xDA)
    yield "jpeg-noise-for-data", EITHER, good[: scan + 14] + bytes(range(255)) * 8 + b"\xff\xd9"
    yield "jpeg-all-restarts", EITHER, good[: scan + 14] + b"\xff\xd0\xff\xd1" * 500 + b"\xff\xd9"


def _odd_and_right(good: bytes) -> Iterator[Case]:
    picture = photograph()
    for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535):
        yield f"jpeg-orientation-{value}", ANSWER, after_start(good, segment(0xE1, orientation(value)))
    yield "jpeg-orientation-long", ANSWER, after_start(good, segment(0xE1, orientation(2**32 - 1, 4)))
    circle = exif(struct.pack("<HHII", 0x8769, 4, 1, 8), following=8)
    yield "jpeg-exif-circle", ANSWER, after_start(good, segment(0xE1, circle))
    yield "jpeg-exif-far", ANSWER, after_start(good, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"))
    yield "jpeg-exif-many", ANSWER, after_start(good, segment(0xE1, exif(b"\x12\x01\x03\0" * 9, 65535)))
    yield "jpeg-exif-noise", ANSWER, after_start(good, segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 200))
    yield "jpeg-exif-empty", ANSWER, after_start(good, segment(0xE1, b"Exif\0\0"))
    yield "jpeg-icc-noise", ANSWER, after_start(good, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(range(256)) * 99))
    yield "jpeg-icc-of-255", ANSWER, after_start(good, segment(0xE2, b"ICC_PROFILE\0\xff\xff" + b"x" * 60))
    yield (
        "jpeg-photoshop",
        ANSWER,
        after_start(good, segment(0xED, b"Photoshop 3.0\0008BIM\x04\x04\0\0\xff\xff\xff\xff")),
    )
    yield "jpeg-comment", ANSWER, after_start(good, segment(0xFE, b"<?php system('id'); ?>"))
    yield "jpeg-zip", ANSWER, good + b"PK\x05\x06" + b"\0" * 18
    yield "jpeg-twice", ANSWER, good + good
    for transform in (0, 1, 2, 255):
        adobe = b"Adobe\0\x64\0\0\0\0" + bytes([transform])
        yield f"jpeg-adobe-{transform}", ANSWER, after_start(good, segment(0xEE, adobe))
    for mode in ("L", "CMYK"):
        stream = io.BytesIO()
        picture.convert(mode).save(stream, "JPEG")
        yield f"jpeg-{mode}", ANSWER, stream.getvalue()
    yield "jpeg-progressive", ANSWER, encoded("JPEG", progressive=True)
    yield "jpeg-full-colour", ANSWER, encoded("JPEG", subsampling=0)
    yield "jpeg-restarts", ANSWER, encoded("JPEG", restart_marker_blocks=1)
    yield "jpeg-1x1", ANSWER, encoded("JPEG", (1, 1))
    yield "jpeg-1x3000", ANSWER, encoded("JPEG", (1, 3000))


def _slow(good: bytes) -> Iterator[Case]:
    """Of a few bytes for each of many turns over the whole picture."""
    stream = io.BytesIO()
    Image.new("RGB", (4000, 4000), (90, 120, 60)).save(stream, "JPEG", progressive=True)
    long = stream.getvalue()
    scan = re.findall(rb"\xff\xda(?:[^\xff]|\xff\x00)*", long)[-1]
    yield "jpeg-5000-scans", FAIL, long[:-2] + scan * 5000 + b"\xff\xd9"
    yield "jpeg-200000-exifs", FAIL, after_start(good, segment(0xE1, b"Exif\0\0x") * 200_000)
    yield "jpeg-comments", FAIL, after_start(good, segment(0xFE, b"") * 100_000)
