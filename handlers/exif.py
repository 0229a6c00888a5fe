"""The orientation that a camera wrote into EXIF, and turning a picture upright by it.

Read here rather than through Pillow's EXIF class: one tag is wanted, and a damaged EXIF block (common in the wild) must
neither fail a good picture nor warn about it.
"""

from __future__ import annotations

import struct

from PIL import Image

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
#: EXIF 2.32, tag 274: what must be done to the stored pixels so that they stand upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(exif: object) -> int:
    """Orientation 1..8 in an EXIF block (``bytes``, with or without its ``Exif`` prefix); 1 where none can be read."""
    if not isinstance(exif, bytes):
        return UPRIGHT
    tiff = exif[6:] if exif.startswith(b"Exif\x00\x00") else exif
    try:
        return _from_tiff(tiff)
    except struct.error:  # the block ends early
        return UPRIGHT


def _from_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION_TAG:
            # SHORT by the standard; some writers use LONG
            (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, at + 8)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def swaps_sides(value: int) -> bool:
    """Whether turning by this orientation exchanges width and height."""
    return value >= 5


def upright(image: Image.Image, value: int) -> Image.Image:
    """The picture as it should be seen; the same object where nothing is to be done."""
    turn = _TURNS.get(value)
    return image if turn is None else image.transpose(turn)


def margin_before(value: int, right: float, bottom: float) -> tuple[float, float]:
    """Where a margin at the right and bottom of the stored picture ends up at the left and top of the upright one."""
    left = {2: right, 3: right, 6: bottom, 7: bottom}.get(value, 0.0)
    top = {3: bottom, 4: bottom, 7: right, 8: right}.get(value, 0.0)
    return left, top
