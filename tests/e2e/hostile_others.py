"""GIF, BMP and WebP with wrong fields, odd ones that are right, and files of other formats, alone and mixed."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.e2e.hostile_base import ANSWER, EITHER, FAIL, SIZE, Case, encoded, photograph
from tests.e2e.hostile_jpeg import changed


def others() -> Iterator[Case]:
    yield from _gifs()
    yield from _bmps()
    yield from _webps()
    yield from _foreign()
    yield from _mixed()


def _gifs() -> Iterator[Case]:
    good = encoded("GIF")
    table = 13 + (3 << (good[10] & 7) + 1)
    frame = good.index(b",", table)
    head, rest = good[:table], good[table:]
    frames = [photograph().rotate(90 * turn) for turn in range(1, 4)]
    yield "gif-animated", ANSWER, encoded("GIF", save_all=True, append_images=frames)
    yield "gif-interlaced", ANSWER, encoded("GIF", interlace=1)
    yield "gif-clear", ANSWER, encoded("GIF", mode="P", transparency=3)
    yield "gif-1x1", ANSWER, encoded("GIF", (1, 1))
    yield "gif-1x3000", ANSWER, encoded("GIF", (1, 3000))
    yield "gif-comments", ANSWER, head + b"!\xfe\1x\0" * 20_000 + rest
    yield "gif-loops", ANSWER, head + b"!\xff\x0bNETSCAPE2.0\3\1\xff\xff\0" * 2000 + rest
    yield "gif-zip", ANSWER, good + b"PK\x05\x06" + b"\0" * 18
    yield "gif-no-frame", FAIL, head + b";"
    yield "gif-endless-comment", FAIL, head + b"!\xfe" + b"\xff" * 3000
    yield "gif-head-only", FAIL, head
    yield "gif-version-90b", FAIL, changed(good, 3, *b"90b")
    yield "gif-without-table", EITHER, changed(good, 10, good[10] & 0x7F)
    for name, where in (("screen", 6), ("frame", frame + 5)):
        for size in ((0, 0), (65535, 65535), (3000, 1)):
            outcome = FAIL if size == (65535, 65535) else EITHER
            yield f"gif-{name}-{size[0]}x{size[1]}", outcome, changed(good, where, *struct.pack("<HH", *size))
    yield "gif-frame-outside", EITHER, changed(good, frame + 1, 0xFF, 0x03, 0xFF, 0x03)
    yield "gif-frame-far-outside", FAIL, changed(good, frame + 1, 0xFF, 0xFF, 0xFF, 0xFF)
    for bits in (0, 1, 12, 13, 255):
        yield f"gif-code-bits-{bits}", EITHER, changed(good, frame + 10, bits)
    yield "gif-codes-of-ones", EITHER, good[: frame + 11] + (b"\xff" * 256) * 20 + b"\0;"
    yield "gif-empty-data", EITHER, good[: frame + 11] + b"\0;"


def bmp(body: bytes, bits: int, compression: int, size: tuple[int, int] = SIZE, colours: int = 0) -> bytes:
    palette = bytes(range(256)) * 4 if bits <= 8 else b""
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(body), 0, 0, colours, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + info + palette + body


def _bmps() -> Iterator[Case]:
    good = encoded("BMP")
    for mode in ("1", "L", "P"):
        yield f"bmp-{mode}", ANSWER, encoded("BMP", mode=mode)
    grey = np.asarray(photograph().convert("L"))
    runs = b"".join(b"".join(bytes([1, value]) for value in line) + b"\0\0" for line in grey) + b"\0\1"
    yield "bmp-runs", ANSWER, bmp(runs, 8, 1)
    yield "bmp-top-down", ANSWER, changed(good, 22, *struct.pack("<i", -SIZE[1]))
    yield "bmp-1x1", ANSWER, encoded("BMP", (1, 1))
    yield "bmp-3000x1", ANSWER, encoded("BMP", (3000, 1))
    yield "bmp-16-bits", ANSWER, bmp(bytes(2 * SIZE[0] * SIZE[1]), 16, 0)
    yield "bmp-4096-bytes-of-65535x760", FAIL, bmp(b"\1\1\0\0" * 760 + b"\0\1", 8, 1, (65535, 760))
    yield "bmp-runs-of-nothing", EITHER, bmp(b"\0\2\xff\xff" * 50, 8, 1)
    yield "bmp-runs-without-end", FAIL, bmp(b"\xff\1", 8, 1)
    for size in ((0, 48), (64, 0), (0, 0), (-64, 48), (2**31 - 1, 2**31 - 1), (64, -(2**31)), (7072, 7072), (65536, 1)):
        yield f"bmp-{size[0]}x{size[1]}", FAIL, changed(good, 18, *struct.pack("<ii", *size))
    for length in (0, 11, 41, 2**32 - 1):
        yield f"bmp-info-{length}", FAIL, changed(good, 14, *struct.pack("<I", length))
    for bits in (0, 3, 33, 65535):
        yield f"bmp-bits-{bits}", FAIL, changed(good, 28, *struct.pack("<H", bits))
    for kind in (2, 4, 5, 99):
        yield f"bmp-compression-{kind}", FAIL, changed(good, 30, kind)
    yield "bmp-no-masks", EITHER, changed(good, 30, 3)
    for offset in (0, 14, 10_000, 2**32 - 1):
        outcome = FAIL if offset >= 10_000 else EITHER
        yield f"bmp-data-at-{offset}", outcome, changed(good, 10, *struct.pack("<I", offset))
    for colours in (1, 257, 2**32 - 1):
        yield f"bmp-{colours}-colours", EITHER, bmp(bytes(SIZE[0] * SIZE[1]), 8, 0, SIZE, colours)
    yield "bmp-head-only", FAIL, good[:54]


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def part(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def canvas(flags: int, width: int = SIZE[0], height: int = SIZE[1]) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return part(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def _webps() -> Iterator[Case]:
    lossy, lossless = encoded("WEBP"), encoded("WEBP", lossless=True)
    frame = lossy[12:]
    yield "webp-lossless", ANSWER, lossless
    yield "webp-clear", ANSWER, encoded("WEBP", mode="RGBA")
    yield "webp-animated", ANSWER, encoded("WEBP", save_all=True, append_images=[photograph().rotate(90)])
    yield "webp-1x1", ANSWER, encoded("WEBP", (1, 1))
    yield "webp-3000x1", ANSWER, encoded("WEBP", (3000, 1))
    turned = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    yield "webp-turned", ANSWER, riff(canvas(0x08), frame, part(b"EXIF", turned))
    for name, flag, kind in (("exif", 0x08, b"EXIF"), ("profile", 0x20, b"ICCP"), ("xmp", 0x04, b"XMP ")):
        noise = part(kind, bytes(range(256)) * 9)
        inside = (canvas(flag), noise, frame) if kind == b"ICCP" else (canvas(flag), frame, noise)
        yield f"webp-noise-for-{name}", ANSWER, riff(*inside)
    yield "webp-unknown-parts", EITHER, riff(canvas(0), part(b"abcd", b"") * 5000, frame)
    yield "webp-no-picture", FAIL, riff(canvas(0))
    yield "webp-head-only", FAIL, lossy[:12]
    yield "webp-of-nothing", FAIL, riff()
    yield "webp-16384-squared", FAIL, riff(canvas(0, 1 << 24, 1 << 24), frame)
    yield "webp-other-canvas", EITHER, riff(canvas(0, 2000, 2000), frame)
    yield "webp-animation-of-nothing", FAIL, riff(canvas(0x02), part(b"ANIM", bytes(6)))
    yield "webp-frame-of-noise", FAIL, riff(part(b"VP8 ", bytes(range(256))))
    yield "webp-lossless-of-noise", FAIL, riff(part(b"VP8L", b"\x2f" + b"\xff" * 200))
    yield "webp-clear-of-noise", EITHER, riff(canvas(0x10), part(b"ALPH", bytes(range(100))), frame)
    for name, where in (("riff", 4), ("part", 16)):
        for length in (0, 2**31, 2**32 - 1):
            yield f"webp-{name}-length-{length}", EITHER, changed(lossy, where, *struct.pack("<I", length))
    yield "webp-0x0", FAIL, changed(lossy, 26, 0, 0, 0, 0)
    yield "webp-16383x16383", FAIL, changed(lossy, 26, 0xFF, 0x3F, 0xFF, 0x3F)
    yield "webp-no-start-code", FAIL, changed(lossy, 23, 0, 0, 0)
    yield "webp-lossless-no-signature", FAIL, changed(lossless, 20, 0)


def _foreign() -> Iterator[Case]:
    """Whole files of formats that are not taken, each of which Pillow or a browser opens."""
    for kind, mode in (
        ("TIFF", "RGB"),
        ("TIFF", "1"),
        ("TIFF", "F"),
        ("TIFF", "I;16"),
        ("TIFF", "CMYK"),
    ):
        picture = photograph().convert("L") if mode in ("F", "I;16") else photograph()
        wide = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257) if mode == "I;16" else None
        stream = io.BytesIO()
        (wide or picture.convert(mode)).save(stream, kind)
        yield f"foreign-{kind}-{mode}", FAIL, stream.getvalue()
    for kind in ("ICO", "ICNS", "PPM", "TGA", "PCX", "SGI", "DDS", "IM", "EPS", "PDF", "JPEG2000", "MPO", "QOI"):
        yield f"foreign-{kind}", ANSWER if kind == "MPO" else FAIL, encoded(kind, (64, 64))
    psd = (
        b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, *SIZE[::-1], 8, 3) + bytes(14) + bytes(3 * SIZE[0] * SIZE[1])
    )
    yield "foreign-psd", FAIL, psd
    yield (
        "foreign-svg-bomb",
        FAIL,
        b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><svg>&b;</svg>",
    )
    yield "foreign-xbm", FAIL, b"#define x_width 8\n#define x_height 1\nstatic char x_bits[] = {0xff};"
    yield "foreign-gzip", FAIL, gzip.compress(encoded("JPEG"), mtime=0)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("photo.jpg"), encoded("JPEG"))
    yield "foreign-zip-of-a-photograph", FAIL, archive.getvalue()
    array = io.BytesIO()
    np.save(array, np.asarray(photograph()))
    yield "foreign-npy", FAIL, array.getvalue()
    yield "foreign-pixels", FAIL, photograph().tobytes()
    for name, start in {
        "mp4": b"\0\0\0 ftypisom",
        "wav": b"RIFF\x24\0\0\0WAVEfmt ",
        "ogg": b"OggS",
        "heic": b"\0\0\0 ftypheic",
    }.items():
        yield f"foreign-{name}", FAIL, start + bytes(64)


def _mixed() -> Iterator[Case]:
    good = encoded("JPEG")
    for name, before in {
        "newline": b"\n",
        "blank": b" ",
        "nul": b"\0",
        "mark": b"\xef\xbb\xbf",
        "pdf": b"%PDF-1.4\n",
    }.items():
        yield f"mixed-{name}-before", FAIL, before + good
    text = base64.b64encode(good)
    for name, data in {
        "base64": text,
        "url": b"data:image/jpeg;base64," + text,
        "hex": good.hex().encode(),
        "quoted": repr(good).encode(),
        "utf-8": good.decode("latin-1").encode(),
        "utf-16": good.decode("latin-1").encode("utf-16"),
        "form": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + good + b"\r\n--x--\r\n",
        "backwards": good[::-1],
        "bytes-swapped": bytes(value for pair in zip(good[1::2], good[::2], strict=False) for value in pair),
    }.items():
        yield f"mixed-{name}", FAIL, data
    starts = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "gif": b"GIF89a",
        "bmp": b"BM",
        "webp": b"RIFF\0\1\0\0WEBP",
    }
    for name, start in starts.items():
        for other in ("JPEG", "PNG", "BMP"):
            if name != other.lower():
                outcome = EITHER if (name, other) == ("jpeg", "BMP") else FAIL
                yield f"mixed-{name}-then-{other}", outcome, start + encoded(other)[len(start) :]
