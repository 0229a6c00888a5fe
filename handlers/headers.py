"""What encoded bytes say about themselves before anything is decoded: their format, their size, and whether they end.

Only the standard library, and only the first bytes of each structure: nothing here allocates by what a header claims.
"""

from __future__ import annotations

import re
import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: What follows the data of a JPEG's scan: a marker that is no restart, not a stuffed 0xFF.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
#: ITU-T T.81, table B.1: start of frame, those of progressive ones, start of scan, end; markers without a length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCAN, _END, _BARE = 0xDA, 0xD9, frozenset({0x01, 0xD8})

#: Formats that are recognised to say something better than "unknown", and refused.
_FOREIGN = (
    (0, b"II*\x00", "a TIFF file"),
    (0, b"MM\x00*", "a TIFF file"),
    (4, b"ftyp", "a HEIF, AVIF or MP4 file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"<", "text (HTML, XML or SVG)"),
    (0, b"{", "text (JSON)"),
    (0, b"/9j/", "base64 text of a JPEG"),
    (0, b"iVBORw0KGgo", "base64 text of a PNG"),
)


def sniff(data: bytes) -> str | None:
    """``JPEG``, ``PNG``, ``GIF``, ``WEBP`` or ``BMP`` by the signature (never by a name); None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM"):
        return "BMP"
    return None


def describe_foreign(data: bytes) -> str:
    """What bytes that :func:`sniff` does not know look like, for an error text."""
    for offset, magic, name in _FOREIGN:
        if data.startswith(magic, offset):
            return name
    return f"bytes that begin with {data[:8].hex(' ')}"


def declared_size(data: bytes, file_format: str) -> tuple[int, int] | None:
    """Width and height in pixels that a PNG, WebP or GIF declares, or None where they cannot be read.

    Pillow allocates the canvas of a WebP or GIF while it opens them, so theirs must be known before. The other formats
    are opened without an allocation and report their size themselves (PNG is here because it costs nothing).
    """
    try:
        if file_format == "PNG":
            return struct.unpack_from(">II", data, 16)
        if file_format == "WEBP":
            return _webp_size(data)
        if file_format == "GIF":
            return _gif_size(data)
    except (struct.error, IndexError):
        return None
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649 sections 2.5 to 2.7: the canvas of VP8X, or the frame of VP8 or VP8L."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def _gif_size(data: bytes) -> tuple[int, int]:
    """GIF89a sections 18 and 20: the logical screen, enlarged by a first frame that reaches out of it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] == 0x21:  # extensions: a label, then sub-blocks up to an empty one
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] == 0x2C:
        left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
        width, height = max(width, left + frame_width), max(height, top + frame_height)
    return width, height


def jpeg_excess(data: bytes, most_segments: int, most_scans: int) -> str | None:
    """What a JPEG has too much of, or None.

    Each scan of a few bytes makes libjpeg go over the whole picture, and Pillow joins EXIF segments one by one: small
    files could keep a processor busy for hours. Photographs have tens of segments and at most tens of scans.
    """
    at, segments, scans = 2, 0, 0
    several, components = False, 0
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker in _FRAMES:
            several, components = marker in _PROGRESSIVE, data[at + 7] if at + 7 < len(data) else 0
        if marker == _SCAN:
            # libjpeg reads on only where the first scan cannot be everything
            several |= scans > 0 or data[at + 2 : at + 3] < bytes([components])
            scans += 1
        if marker == _END or (scans and not several):
            return None
        segments += 1
        if scans > most_scans:
            return f"more than {most_scans} scans"
        if segments > most_segments:
            return f"more than {most_segments} segments"
        if marker not in _BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return None


def ends_early(data: bytes, file_format: str) -> bool:
    """Whether the file's own structure runs past its last byte. Only asked after a decoder has failed."""
    if file_format == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if file_format == "PNG":
        return b"IEND" not in data[-64:]
    if file_format == "GIF":
        return not data.rstrip(b"\x00").endswith(b";")
    if file_format == "WEBP":
        return len(data) < 12 or int.from_bytes(data[4:8], "little") + 8 > len(data)
    return len(data) < 26 or int.from_bytes(data[2:6], "little") > len(data)


def first_bad_png_chunk(data: bytes) -> str | None:
    """The name of the first critical PNG chunk whose CRC is wrong, or None.

    Pillow does not check the CRC of IDAT, where the pixels are. Ancillary chunks (text, EXIF, ...) are not checked:
    they do not change the picture. A chunk that runs past the end is left to the decoder.
    """
    view = memoryview(data)
    at, end = len(PNG_SIGNATURE), len(data)
    while at + 12 <= end:
        length = int.from_bytes(view[at : at + 4], "big")
        stop = at + 8 + length
        if stop + 4 > end:
            return None
        name = bytes(view[at + 4 : at + 8])
        critical = not name[0] & 0x20
        if critical and zlib.crc32(view[at + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            return name.decode("ascii", "backslashreplace")
        if name == b"IEND":
            return None
        at = stop + 4
    return None
