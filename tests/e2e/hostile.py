"""What people and attackers put where an image belongs, by name: for every task and both engines."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.e2e.hostile_base import ANSWER, EITHER, FAIL, Case, encoded
from tests.e2e.hostile_jpeg import jpegs
from tests.e2e.hostile_others import others
from tests.e2e.hostile_png import data, file, header, pngs

#: Of those below, the one that is more than an image may have.
LARGE = "21-megabytes"


def png_header(width: int, height: int) -> bytes:
    """A PNG of any size that is only a header and a little data: the decompression bomb's first bytes."""
    return file(header(width, height), data(b"\0" * min(width * 3 + 1, 1 << 20)))


def _hostile_images() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield from {
        "text": b"hello",
        "one-byte": b"\xff",
        "nul": b"\0" * 1000,
        "html": b"<html><body>404</body></html>",
        "json": b'{"image": "base64"}',
        "pickle": b"\x80\x04\x95\x10\0\0\0",
        "zip": b"PK\x03\x04" + b"\0" * 60,
        "elf": b"\x7fELF" + b"\0" * 60,
        "pdf": b"%PDF-1.7\n%%EOF",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "tiff": b"II*\0\x08\0\0\0" + b"\0" * 20,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "psd": b"8BPS\0\1" + b"\0" * 40,
        "ico": b"\0\0\1\0\1\0" + b"\0" * 40,
        "avif": b"\0\0\0 ftypavif" + b"\0" * 40,
        "shell": b"#!/bin/sh\nexit 1\n",
    }.items()
    for width, height in [(20000, 20000), (65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (0, 10), (10, 0), (2**31, 1)]:
        yield f"png-{width}x{height}", png_header(width, height)
    # a good picture: borders that make it an eighth as high as it is long would have 537 megapixels
    yield "strip-65535x1", png_header(65535, 1)
    chooser = random.Random(7)
    for format_name in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        good = encoded(format_name)
        for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
            yield f"{format_name}-cut-{part}", good[: int(len(good) * part)]
        for start in range(4):
            damaged = bytearray(good)
            for _ in range(len(good) // 8):
                damaged[chooser.randrange(2, len(good))] = chooser.randrange(256)
            yield f"{format_name}-noise-{start}", bytes(damaged)
    yield LARGE, encoded("JPEG") + b"\0" * 21_000_000


def _cases() -> Iterator[Case]:
    for name, image in _hostile_images():
        # noise may leave a picture that decodes, and a strip is one: an answer is then right, and no error is asked for
        yield name, EITHER if "-noise-" in name or name.startswith("strip-") else FAIL, image
    for source in (jpegs, pngs, others):
        yield from source()


_CASES = list(_cases())
IMAGES = {name: data for name, _, data in _CASES}
MUST_FAIL = [name for name, outcome, _ in _CASES if outcome == FAIL]
MUST_ANSWER = [name for name, outcome, _ in _CASES if outcome == ANSWER]
assert len(IMAGES) == len(_CASES) and len(set(IMAGES.values())) > 400
