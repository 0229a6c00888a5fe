"""PNGs with wrong chunks, wrong headers, bombs in text and data, and every depth and mode that is right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.e2e.hostile_base import ANSWER, EITHER, FAIL, SIZE, Case, encoded, photograph

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    right = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", right if crc is None else crc)


def header(
    width: int = SIZE[0], height: int = SIZE[1], bits: int = 8, colour: int = 2, more: tuple[int, int, int] = (0, 0, 0)
) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, *more))


def file(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def rows(channels: int, bits: int = 8, filter_type: int = 0) -> bytes:
    """The photograph's lines as PNG stores them, of so many channels of so many bits."""
    grey = np.asarray(photograph().convert("L"))
    if bits < 8:
        lines = np.packbits(np.unpackbits((grey >> 8 - bits)[..., None], axis=2)[..., 8 - bits :], axis=None)
        lines = lines.reshape(SIZE[1], -1)
    else:
        lines = np.repeat(np.repeat(grey, channels, axis=1), bits // 8, axis=1)
    return b"".join(bytes([filter_type]) + line.tobytes() for line in lines)


def data(raw: bytes | None = None) -> bytes:
    return chunk(b"IDAT", zlib.compress(rows(3) if raw is None else raw, 9))


def pngs() -> Iterator[Case]:
    yield from _right()
    yield from _headers()
    yield from _chunks()
    yield from _beside()
    yield from _bombs()


def _right() -> Iterator[Case]:
    kinds = [(0, bits, 1) for bits in (1, 2, 4, 8, 16)] + [(2, 8, 3), (2, 16, 3), (4, 8, 2), (4, 16, 2)]
    for colour, bits, channels in [*kinds, (6, 8, 4), (6, 16, 4)]:
        yield (
            f"png-colour-{colour}-bits-{bits}",
            ANSWER,
            file(header(bits=bits, colour=colour), data(rows(channels, bits))),
        )
    for bits in (1, 2, 4, 8):
        palette = chunk(b"PLTE", bytes(range(3)) * (1 << bits))
        for name, clear in (("", b""), ("-clear", chunk(b"tRNS", b"\0\x80"))):
            inside = (header(bits=bits, colour=3), palette, clear, data(rows(1, bits)))
            yield f"png-palette-{bits}{name}", ANSWER, file(*inside)
    for name, colour, bits, channels, key in (("grey", 0, 8, 1, 1), ("grey-16", 0, 16, 1, 1), ("colour", 2, 8, 3, 3)):
        clear = chunk(b"tRNS", b"\0\x10" * key)
        yield f"png-{name}-key", ANSWER, file(header(bits=bits, colour=colour), clear, data(rows(channels, bits)))
    for size in ((1, 1), (1, 3000), (3000, 1)):
        yield f"png-{size[0]}x{size[1]}-right", ANSWER, encoded("PNG", size)
    yield "png-zero-level", ANSWER, file(header(), chunk(b"IDAT", zlib.compress(rows(3), 0)))
    pieces = zlib.compress(rows(3))
    yield "png-a-byte-a-chunk", ANSWER, file(header(), *(chunk(b"IDAT", pieces[i : i + 1]) for i in range(len(pieces))))
    yield "png-animated", ANSWER, encoded("PNG", save_all=True, append_images=[photograph().rotate(90)])


def _headers() -> Iterator[Case]:
    for bits, colour in ((0, 2), (3, 0), (255, 2), (8, 1), (8, 5), (8, 7), (16, 3), (1, 2), (4, 6)):
        yield f"png-bits-{bits}-colour-{colour}", FAIL, file(header(bits=bits, colour=colour), data())
    for where, name in enumerate(("compression", "filter", "interlace")):
        more = tuple(9 if index == where else 0 for index in range(3))
        yield f"png-{name}-9", EITHER, file(header(more=more), data())
    yield "png-interlaced-not", EITHER, file(header(more=(0, 0, 1)), data())
    for size in ((65536, 1), (1, 65536), (8000, 8000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)):
        yield f"png-{size[0]}x{size[1]}-large", FAIL, file(header(*size), data())
    yield "png-header-12", FAIL, file(chunk(b"IHDR", header()[8:20]), data())
    yield "png-header-empty", FAIL, file(chunk(b"IHDR", b""), data())
    yield "png-header-bad-crc", FAIL, file(header()[:-4] + b"\0\0\0\0", data())
    yield "png-two-headers", EITHER, file(header(), header(1, 1), data())
    yield "png-data-first", FAIL, file(data(), header())
    yield "png-no-header", FAIL, file(data())
    yield "png-newlines", FAIL, file(header(), data()).replace(b"\r\n", b"\n")


def _chunks() -> Iterator[Case]:
    raw = zlib.compress(rows(3))
    yield "png-no-data", FAIL, file(header())
    yield "png-empty-data", FAIL, file(header(), chunk(b"IDAT", b""))
    yield "png-bad-crc", FAIL, file(header(), data()[:-4] + b"\0\0\0\0")
    yield "png-not-zlib", FAIL, file(header(), chunk(b"IDAT", b"\0" * 500))
    yield "png-bad-adler", EITHER, file(header(), chunk(b"IDAT", raw[:-4] + b"\0\0\0\0"))
    yield "png-half-of-the-lines", EITHER, file(header(), data(rows(3)[: SIZE[1] // 2 * (3 * SIZE[0] + 1)]))
    yield "png-twice-the-lines", EITHER, file(header(), data(rows(3) * 2))
    for value in (5, 255):
        yield f"png-line-filter-{value}", FAIL, file(header(), data(rows(3, filter_type=value)))
    for length in (1, 2**31 - 1, 2**31, 2**32 - 1):
        wrong = struct.pack(">I", length) + data()[4:]
        yield f"png-data-length-{length}", EITHER, SIGNATURE + header() + wrong
    yield "png-palette-missing", EITHER, file(header(colour=3), data(rows(1)))
    yield "png-palette-of-2-used-to-255", EITHER, file(header(colour=3), chunk(b"PLTE", bytes(6)), data(rows(1)))
    yield "png-palette-of-7-bytes", EITHER, file(header(colour=3), chunk(b"PLTE", bytes(7)), data(rows(1)))
    yield "png-no-end", EITHER, SIGNATURE + header() + data()
    yield "png-end-first", FAIL, SIGNATURE + header() + chunk(b"IEND", b"") + data()
    yield "png-unknown-critical", EITHER, file(header(), chunk(b"ABCD", b"x"), data())
    yield "png-name-of-control-characters", EITHER, file(header(), chunk(b"\0\1\2\3", b"x"), data())
    yield "png-jpeg-inside", FAIL, SIGNATURE + encoded("JPEG")
    yield "png-signature-only", FAIL, SIGNATURE
    yield "png-huge-animation", EITHER, file(header(), chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0"), data())
    yield "png-short-animation", EITHER, file(header(), chunk(b"acTL", b"\0"), data())


def _beside() -> Iterator[Case]:
    """What lies beside the picture and does not change it."""
    good = {
        "html-text": chunk(b"tEXt", b"Comment\0<script>alert(1)</script>"),
        "text-without-key": chunk(b"tEXt", b"\0\0\0"),
        "text-not-utf8": chunk(b"iTXt", b"k\0\0\0\0\0\xff\xfe\xfd"),
        "zip-of-noise": chunk(b"zTXt", b"k\0\0" + b"\xff" * 40),
        "profile-of-noise": chunk(b"iCCP", b"name\0\0" + b"\xff" * 40),
        "exif-noise": chunk(b"eXIf", bytes(range(256))),
        "exif-turned": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
        "no-gamma": chunk(b"gAMA", bytes(4)),
        "no-density": chunk(b"pHYs", bytes(8) + b"\1"),
    }
    for name, item in good.items():
        yield f"png-{name}", ANSWER, file(header(), item, data())
    for name, item in {
        "short-gamma": chunk(b"gAMA", b"\0"),
        "short-density": chunk(b"pHYs", b"\0"),
        "short-chromaticities": chunk(b"cHRM", b"\0"),
        "short-rendering": chunk(b"sRGB", b""),
        "long-key": chunk(b"tRNS", bytes(5000)),
        "no-key": chunk(b"tRNS", b""),
        "text-bad-crc": chunk(b"tEXt", b"k\0v", crc=1),
    }.items():
        yield f"png-{name}", EITHER, file(header(), item, data())
    yield "png-zip", ANSWER, file(header(), data()) + b"PK\x05\x06" + b"\0" * 18


def _bombs() -> Iterator[Case]:
    zeros = zlib.compress(bytes(50_000_000), 9)
    yield "png-bomb-data", EITHER, file(header(), chunk(b"IDAT", zeros))
    for name, start in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"name\0\0")):
        yield f"png-bomb-{name.decode()}", EITHER, file(header(), chunk(name, start + zeros), data())
    small = zlib.compress(bytes(1 << 20), 9)
    yield "png-bomb-texts", FAIL, file(header(), *(chunk(b"zTXt", b"%d\0\0" % i + small) for i in range(80)), data())
    yield "png-20000-chunks", ANSWER, file(header(), chunk(b"abCd", b"") * 20_000, data())
