"""Every format and kind that decode takes, and every way in which it refuses."""

from __future__ import annotations

import io
import itertools
import random
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from handlers.decode import MAX_SIDE, EncodedImage, decode
from slipway.errors import (
    ImageCorrupt,
    ImageEmpty,
    ImageError,
    ImageFormatUnsupported,
    ImageTooManyBytes,
    ImageTooManyPixels,
    ImageTruncated,
)
from tests.handlers.pictures import ODD, encode, picture, read

LOSSLESS = [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


@pytest.mark.parametrize("name", ODD)
def test_photographs_are_rgb_of_their_own_size(name: str) -> None:
    image = decode(read(name))
    assert (image.mode, image.size) == ("RGB", Image.open(io.BytesIO(read(name))).size)


@pytest.mark.parametrize(("file_format", "options"), LOSSLESS)
def test_lossless_formats_return_the_picture(file_format: str, options: dict) -> None:
    original = picture()
    assert np.array_equal(pixels(decode(encode(original, file_format, **options))), pixels(original))


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_kinds_equal_pillow(options: dict) -> None:
    encoded = encode(picture("china.jpg"), "JPEG", **options)
    assert np.array_equal(pixels(decode(encoded)), pixels(Image.open(io.BytesIO(encoded))))


def test_grey_jpeg_has_three_equal_channels() -> None:
    grey = picture().convert("L")
    image = pixels(decode(encode(grey, "JPEG", quality=100)))
    assert np.array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - pixels(grey)).mean() < 1


def test_cmyk_jpeg_is_not_a_negative() -> None:
    original = picture()
    encoded = encode(original.convert("CMYK"), "JPEG", quality=98)
    assert b"Adobe" in encoded
    assert np.abs(pixels(decode(encoded)).astype(int) - pixels(original)).mean() < 3


def test_cmyk_jpeg_without_its_adobe_marker_keeps_adobes_polarity() -> None:
    """As Pillow does for every CMYK JPEG; documented in handlers.colour."""
    encoded = encode(picture().convert("CMYK"), "JPEG", quality=98)
    at = encoded.index(b"\xff\xee")
    length = int.from_bytes(encoded[at + 2 : at + 4], "big")
    bare = encoded[:at] + encoded[at + 2 + length :]
    assert np.array_equal(pixels(decode(bare)), pixels(decode(encoded)))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_all_exif_orientations_equal_pillows(value: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    encoded = encode(picture(), file_format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)).convert("RGB"))
    image = decode(encoded)
    assert image.size == expected.size == EncodedImage(encoded, 10**9, 10**9).size
    assert np.array_equal(pixels(image), pixels(expected))


@pytest.mark.filterwarnings("ignore::UserWarning")  # pytest replaces the filter that handlers.decode sets
def test_broken_exif_does_not_fail_a_good_picture() -> None:
    """Every cut and 300 random damages of a real EXIF block, as a camera's JPEG has it (no JFIF header)."""
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0, 0x8298: "someone"})
    block = exif.tobytes()
    plain = encode(picture(), "JPEG")
    body = plain[2 + 2 + int.from_bytes(plain[4:6], "big") :]
    randomly = random.Random(0)
    damaged = [block[:length] for length in range(6, len(block), 3)]
    for _ in range(300):
        copy = bytearray(block)
        for _ in range(randomly.randint(1, 6)):
            copy[randomly.randrange(6, len(copy))] = randomly.randrange(256)
        damaged.append(bytes(copy))
    for exif_bytes in damaged:
        app1 = b"\xff\xe1" + struct.pack(">H", len(exif_bytes) + 2) + exif_bytes
        assert sorted(decode(b"\xff\xd8" + app1 + body).size) == [300, 451]


def test_broken_exif_is_silent_even_when_warnings_are_errors() -> None:
    program = (
        "from handlers.decode import decode; from tests.handlers.pictures import picture, encode\n"
        "plain = encode(picture(), 'JPEG')\n"
        "exif = b'Exif\\0\\0II*\\0\\x08\\0\\0\\0\\xff\\0' + b'\\x1a\\x01\\x05\\0\\1\\0\\0\\0\\xff\\xff\\xff\\0' * 3\n"
        "body = plain[4 + int.from_bytes(plain[4:6], 'big'):]\n"
        "decode(b'\\xff\\xd8\\xff\\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + body)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_palette_png_and_gif_give_their_colours() -> None:
    palette = picture().quantize(64)
    expected = pixels(palette.convert("RGB"))
    assert np.array_equal(pixels(decode(encode(palette, "PNG"))), expected)
    assert np.array_equal(pixels(decode(encode(palette, "GIF"))), expected)


def test_first_frame_of_animations() -> None:
    frames = [picture().quantize(32), picture().rotate(180).quantize(32)]
    first = pixels(frames[0].convert("RGB"))
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    webp = encode(frames[0].convert("RGB"), "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    apng = encode(frames[0].convert("RGB"), "PNG", save_all=True, append_images=[frames[1].convert("RGB")])
    for encoded in (gif, webp, apng):
        assert np.array_equal(pixels(decode(encoded)), first)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_alpha_lies_over_white(file_format: str) -> None:
    original = picture().convert("RGBA")
    alpha = Image.linear_gradient("L").resize(original.size)
    original.putalpha(alpha)
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    image = pixels(decode(encode(original, file_format, **options))).astype(float)
    part = pixels(alpha)[..., None] / 255
    expected = pixels(original.convert("RGB")) * part + 255 * (1 - part)
    assert np.abs(image - expected).max() <= 1


def test_other_transparencies_lie_over_white() -> None:
    grey = picture().convert("L")
    level = pixels(grey)[10, 10]
    keyed = pixels(decode(encode(grey, "PNG", transparency=int(level))))
    assert (keyed[pixels(grey) == level] == 255).all()
    assert np.array_equal(keyed[pixels(grey) != level][:, 0], pixels(grey)[pixels(grey) != level])

    palette = picture().quantize(16)
    for file_format in ("PNG", "GIF"):
        clear = pixels(decode(encode(palette, file_format, transparency=3)))
        assert (clear[pixels(palette) == 3] == 255).all()
        assert np.array_equal(clear[pixels(palette) != 3], pixels(palette.convert("RGB"))[pixels(palette) != 3])

    with_alpha = encode(grey.convert("LA"), "PNG")
    assert np.array_equal(pixels(decode(with_alpha))[..., 1], pixels(grey))


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = pixels(picture().convert("L"))
    exact = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(pixels(decode(encode(exact, "PNG")))[..., 0], grey)
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(pixels(decode(encode(Image.fromarray(ramp), "PNG")))[..., 0], ramp >> 8)


def test_16_bit_rgb_takes_the_high_byte() -> None:
    """Pillow cannot write it, so the file is put together here."""
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(">u2")
    rows = b"".join(b"\x00" + row.tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0))
    encoded = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(pixels(decode(encoded)), values >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_modes(mode: str) -> None:
    original = picture().convert(mode)
    assert np.array_equal(pixels(decode(encode(original, "BMP"))), pixels(original.convert("RGB")))


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_no_bytes() -> None:
    with pytest.raises(ImageEmpty) as caught:
        decode(b"")
    assert caught.value.fix and caught.value.expected


@pytest.mark.parametrize(
    "encoded",
    [b"not an image", b"\x00" * 1000, b"<svg></svg>", b"%PDF-1.7", b"\xff\xd8", b'{"a":1}', b"\x89PNG", b"GIF90a"],
)
def test_not_an_image(encoded: bytes) -> None:
    with pytest.raises(ImageFormatUnsupported):
        decode(encoded)


@pytest.mark.parametrize("file_format", ["TIFF", "PPM", "ICO", "JPEG2000", "AVIF", "TGA"])
def test_other_formats_of_pillow_are_refused(file_format: str) -> None:
    if file_format == "AVIF" and "AVIF" not in Image.SAVE:
        Image.init()
    with pytest.raises(ImageFormatUnsupported):
        decode(encode(picture().resize((64, 64)), file_format))


def test_decoding_loads_no_plugin_but_its_five(tmp_path: Path) -> None:
    """Pillow's own open() imports every plugin it has the first time it meets a WebP."""
    (tmp_path / "picture.webp").write_bytes(encode(picture().resize((9, 9)), "WEBP"))
    program = (
        "import sys; from pathlib import Path; from handlers.decode import decode\n"
        "decode(Path(sys.argv[1]).read_bytes())\n"
        "print({n for n in ('Fpx', 'Eps', 'Mpo', 'Psd', 'Pdf') if f'PIL.{n}ImagePlugin' in sys.modules} or 'none')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "picture.webp")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "none"


@pytest.mark.parametrize(
    "file_format, options",
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {})],
)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_truncated(file_format: str, options: dict, part: float) -> None:
    encoded = encode(picture(), file_format, **options)
    with pytest.raises(ImageTruncated) as caught:
        decode(encoded[: max(20, int(len(encoded) * part))])
    assert caught.value.observed and caught.value.expected and caught.value.fix


def test_bad_chunk_crc_of_the_pixels() -> None:
    """Pillow itself does not check the CRC of IDAT."""
    encoded = bytearray(encode(picture(), "PNG"))
    at = encoded.index(b"IDAT")
    length = int.from_bytes(encoded[at - 4 : at], "big")
    encoded[at + 4 + length] ^= 1
    with pytest.raises(ImageCorrupt, match="IDAT"):
        decode(bytes(encoded))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP", "JPEG"])
def test_corrupt_header(file_format: str) -> None:
    encoded = bytearray(encode(picture(), file_format))
    encoded[16 if file_format != "JPEG" else 4 : 22] = b"\xff" * (6 if file_format != "JPEG" else 18)
    with pytest.raises(ImageError):
        decode(bytes(encoded))


def test_too_many_bytes() -> None:
    with pytest.raises(ImageTooManyBytes) as caught:
        decode(read("rocket.jpg"), max_bytes=1000)
    assert caught.value.http_status == 400


def bombs() -> dict[str, bytes]:
    tiny = {name: bytearray(encode(Image.new("RGB", (8, 8)), name)) for name in ("JPEG", "GIF", "BMP")}
    at = tiny["JPEG"].index(b"\xff\xc0")
    tiny["JPEG"][at + 5 : at + 9] = struct.pack(">HH", 20_000, 20_000)
    tiny["GIF"][6:10] = struct.pack("<HH", 20_000, 20_000)
    frame = bytearray(encode(Image.new("RGB", (8, 8)), "GIF"))
    at = frame.index(b",", 13 + 3 * (2 << (frame[10] & 7)))
    frame[at + 5 : at + 9] = struct.pack("<HH", 20_000, 20_000)
    tiny["BMP"][18:26] = struct.pack("<II", 20_000, 20_000)
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x00" * 4 + (16_000 - 1).to_bytes(3, "little") * 2
    vp8l = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    vp8l[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    vp8 = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP"))
    vp8[26:30] = struct.pack("<HH", 0x3FFF, 0x3FFF)
    return {
        "png": png_header(20_000, 20_000) + chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b""),
        "png huge": png_header(2**31 - 1, 2**31 - 1),
        "jpeg": bytes(tiny["JPEG"]),
        "gif": bytes(tiny["GIF"]),
        "gif frame": bytes(frame),
        "bmp": bytes(tiny["BMP"]),
        "webp vp8x": b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
        "webp vp8l": bytes(vp8l),
        "webp vp8": bytes(vp8),
    }


@pytest.mark.parametrize("kind", bombs())
def test_bomb_is_refused_without_allocating(kind: str) -> None:
    encoded = bombs()[kind]
    blocks_before = Image.core.get_stats()["allocated_blocks"]
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooManyPixels) as caught:
            decode(encoded)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.http_status == 400
    assert Image.core.get_stats()["allocated_blocks"] == blocks_before


def test_a_long_thin_picture_is_refused() -> None:
    with pytest.raises(ImageTooManyPixels, match=str(MAX_SIDE)):
        decode(png_header(MAX_SIDE + 1, 1))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_random_damage_raises_image_errors_only(file_format: str) -> None:
    encoded = encode(picture().resize((60, 40)), file_format)
    randomly = random.Random(1)
    for _ in range(300):
        copy = bytearray(encoded)
        for _ in range(randomly.randint(1, 8)):
            copy[randomly.randrange(4, len(copy))] = randomly.randrange(256)
        try:
            assert decode(bytes(copy), max_pixels=10_000).mode == "RGB"
        except ImageError as error:
            assert str(error).startswith(error.code)


# --- reduced decoding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_decode_is_never_below_what_was_asked(divisor: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(picture("retina.jpg").resize((1203, 805)), "JPEG", exif=exif)
    opened = EncodedImage(encoded, 10**9, 10**9)
    least = (opened.size[0] // divisor, opened.size[1] // divisor)
    image = opened.decode(least)
    assert opened.scale == 1 / divisor
    assert image.size[0] >= least[0] and image.size[1] >= least[1]


def test_reduced_decode_leaves_other_formats_alone() -> None:
    opened = EncodedImage(encode(picture(), "PNG"), 10**9, 10**9)
    assert opened.decode((10, 10)).size == opened.size
    assert opened.scale == 1.0


def segments(jpeg: bytes) -> tuple[bytes, list[bytes]]:
    """What comes before the first scan, and every scan with what lies before it."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", jpeg)]
    return jpeg[: starts[0]], [jpeg[one:other] for one, other in itertools.pairwise([*starts, len(jpeg) - 2])]


def test_a_jpeg_of_many_scans_is_refused_before_they_are_read() -> None:
    """Each is a few bytes long and costs a pass over 16 million pixels: 5,000 of them were two minutes."""
    head, scans = segments(encode(Image.new("RGB", (4000, 4000), "teal"), "JPEG", progressive=True))
    assert decode(head + b"".join(scans) + scans[-1] * 50 + b"\xff\xd9").size == (4000, 4000)
    started = time.process_time()
    with pytest.raises(ImageCorrupt, match="scans"):
        decode(head + b"".join(scans) + scans[-1] * 5000 + b"\xff\xd9")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\x09Exif\0\0x", b"\xff\xfe\0\2"])
def test_a_jpeg_of_many_segments_is_refused(segment: bytes) -> None:
    good = encode(picture(), "JPEG")
    assert decode(good[:2] + segment * 900 + good[2:]).size == picture().size
    with pytest.raises(ImageCorrupt, match="segments"):
        decode(good[:2] + segment * 300_000 + good[2:])


def test_what_looks_like_scans_after_the_picture_is_not_counted() -> None:
    """A telephone's film, for example."""
    for options in ({}, {"progressive": True}):
        good = encode(picture(), "JPEG", **options)
        assert np.array_equal(pixels(decode(good + b"\xff\xda\0\2" * 9000)), pixels(decode(good)))


def test_a_large_run_length_encoded_bmp_is_refused() -> None:
    """Pillow decodes them in Python: four kilobytes that say 50 million pixels took it five seconds."""

    def runs(width: int, height: int) -> bytes:
        body = (
            b"".join(b"\xff\7" * (width // 255) + bytes([width % 255 or 1, 7]) + b"\0\0" for _ in range(height))
            + b"\0\1"
        )
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 0, 0)
        return struct.pack("<2sIHHI", b"BM", 1078 + len(body), 0, 0, 1078) + info + bytes(range(256)) * 4 + body

    assert decode(runs(100, 80)).size == (100, 80)
    with pytest.raises(ImageTooManyPixels, match="4000000"):
        decode(runs(4000, 1001))
