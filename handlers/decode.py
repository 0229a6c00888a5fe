"""Encoded bytes -> an upright 8-bit RGB picture, or an ImageError that says what is wrong with them.

JPEG, PNG, WebP, BMP and the first frame of a GIF. The format is found by signature and only that one Pillow decoder is
tried, so no other plugin ever sees the bytes. Limits are checked before a pixel is allocated.

Pillow is the decoder by measurement (CPU time of one core, best of 5; Pillow 13.0, simplejpeg 1.9, both with their own
libjpeg-turbo 3; the pixels are bit-identical):

====================================  ==================  ======================
JPEG                                  decode, ms          decode + resize 224, ms
====================================  ==================  ======================
640x427, 104 kB                       1.55 vs 1.75        2.6 vs 2.9
1920x1080, 405 kB                     8.4 vs 6.9          12.2 vs 12.2
====================================  ==================  ======================

so the second decoder would buy nothing once its array has become a picture that can be resized.
"""

from __future__ import annotations

import io
import warnings
from typing import Final, NoReturn

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from handlers import exif, headers
from handlers.colour import to_rgb
from slipway.contract import Preprocess
from slipway.errors import (
    ImageCorrupt,
    ImageEmpty,
    ImageError,
    ImageFormatUnsupported,
    ImageTooManyBytes,
    ImageTooManyPixels,
    ImageTruncated,
)

FORMATS: Final = "JPEG, PNG, WebP, BMP or GIF"
#: Pixels along one side: what JPEG and GIF can hold at most. Without it a PNG of 50 million x 1 pixels would pass the
#: pixel limit and make the resize filter allocate 16 bytes per column.
MAX_SIDE: Final = 65_535

#: Of one JPEG; jpegtran's longest progression has about 200 segments, scans among them, and a file's profile up to 255.
_MOST_SEGMENTS, _MOST_SCANS = 1_000, 100
#: Pillow's decoder of run-length encoded BMP is Python: 0.1 s per million pixels, also where a few bytes describe them.
_MOST_RUN_LENGTH_PIXELS = 4_000_000

_DECODERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}

# Pillow warns about damage beside the picture (EXIF, animation chunks) that does not concern the pixels; what does
# concern them is an exception. A filter set once is cheaper than one per image, and safe with threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"PIL\.")


class EncodedImage:
    """An image whose header has been read and found within limits; :meth:`decode` makes its pixels.

    ``size`` is (width, height) in pixels of the upright picture at full scale. ``scale`` is 1.0, or the 1/2, 1/4 or
    1/8 at which a JPEG was decoded; :meth:`located` maps a box of the former into the decoded picture.
    """

    def __init__(self, encoded: bytes, max_pixels: int, max_bytes: int) -> None:
        """Reads the header. Raises the ImageError that fits."""
        self._encoded = encoded
        self._format = _checked_format(encoded, max_bytes)
        declared = headers.declared_size(encoded, self._format)
        if declared is not None:
            _check_pixels(declared, max_pixels)
        if self._format == "JPEG":
            _check_jpeg(encoded)
        try:
            self._image = _DECODERS[self._format](io.BytesIO(encoded))
        except MemoryError:
            raise
        except Exception as error:  # what decoders raise on hostile bytes is no closed set
            self._fail(error)
        _check_pixels(self._image.size, max_pixels)
        if self._image.tile and self._image.tile[0][0] == "bmp_rle":
            _check_pixels(self._image.size, min(max_pixels, _MOST_RUN_LENGTH_PIXELS))
        self._orientation = exif.orientation(self._image.info.get("exif"))
        self.size: tuple[int, int] = self._turned(self._image.size)
        self.scale = 1.0
        self._origin = (0.0, 0.0)

    def decode(self, at_least: tuple[int, int] | None = None) -> Image.Image:
        """The picture in mode RGB, upright.

        With ``at_least`` (width, height of the upright picture) a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size
        where that is no smaller; ``scale`` then tells which. Raises ImageTruncated or ImageCorrupt.
        """
        try:
            if at_least is not None and self._format == "JPEG":
                self._draft(self._turned(at_least))
            if self._format == "PNG":
                self._check_png()
            self._image.load()
            rgb = to_rgb(self._image)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            self._fail(error)
        return exif.upright(rgb, self._orientation)

    def located(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """``box`` (left, top, right, bottom) of the upright picture at full scale, in pixels of the decoded one."""
        left, top = self._origin
        scale = self.scale
        return left + box[0] * scale, top + box[1] * scale, left + box[2] * scale, top + box[3] * scale

    def _draft(self, at_least: tuple[int, int]) -> None:
        """libjpeg rounds a reduced size up, so the last column and row may be partly empty: content ends in between."""
        full_width = self._image.size[0]
        drafted = self._image.draft(None, at_least)
        if drafted is not None:
            _, _, width, height = drafted[1]
            self.scale = width / full_width
            right, bottom = self._image.size[0] - width, self._image.size[1] - height
            self._origin = exif.margin_before(self._orientation, right, bottom)

    def _check_png(self) -> None:
        bad = headers.first_bad_png_chunk(self._encoded)
        if bad is not None:
            raise ImageCorrupt("a PNG chunk does not match its CRC", observed=f"chunk {bad}", fix="send the file again")

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[::-1] if exif.swaps_sides(self._orientation) else size

    def _fail(self, error: Exception) -> NoReturn:
        text = str(error) or type(error).__name__
        if isinstance(error, Image.DecompressionBombError):
            raise ImageTooManyPixels(f"the {self._format} is too large: {text}", fix="send a smaller image") from error
        if headers.ends_early(self._encoded, self._format):
            raise ImageTruncated(
                f"the {self._format} ends before its data does",
                observed=f"{len(self._encoded)} bytes ({text})",
                expected="a complete file",
                fix="send the whole file",
            ) from error
        raise ImageCorrupt(
            f"the {self._format} cannot be decoded",
            observed=text,
            expected=f"a valid {self._format}",
            fix="check that the file opens elsewhere, and encode it again",
        ) from error


def decode(
    encoded: bytes, max_pixels: int = Preprocess.max_pixels, max_bytes: int = Preprocess.max_bytes
) -> Image.Image:
    """The picture in mode RGB, 8 bits, upright by its EXIF orientation, transparency over white (handlers.colour).

    Raises ImageEmpty, ImageTooManyBytes, ImageFormatUnsupported, ImageTooManyPixels, ImageTruncated or ImageCorrupt.
    Damage that libjpeg repairs by itself (a flipped bit inside a scan) is not an error.
    """
    return EncodedImage(encoded, max_pixels, max_bytes).decode()


def _checked_format(encoded: bytes, max_bytes: int) -> str:
    if not encoded:
        raise ImageEmpty("the image has no bytes", observed="0 bytes", expected=FORMATS, fix="send the file's content")
    if len(encoded) > max_bytes:
        raise ImageTooManyBytes(
            "the image file is too large",
            observed=f"{len(encoded)} bytes",
            expected=f"at most {max_bytes} bytes",
            fix="send a smaller or more compressed image",
        )
    file_format = headers.sniff(encoded)
    if file_format is None:
        raise ImageFormatUnsupported(
            "the bytes are no image of a supported format",
            observed=headers.describe_foreign(encoded),
            expected=FORMATS,
            fix="send the raw bytes of such a file",
        )
    return file_format


def _check_jpeg(encoded: bytes) -> None:
    excess = headers.jpeg_excess(encoded, _MOST_SEGMENTS, _MOST_SCANS)
    if excess is not None:
        raise ImageCorrupt(
            "the JPEG is made to be slow",
            observed=excess,
            expected=f"at most {_MOST_SCANS} scans and {_MOST_SEGMENTS} segments",
            fix="encode the picture again",
        )


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooManyPixels(
            "the image has too many pixels",
            observed=f"{width}x{height}",
            expected=f"at most {max_pixels} pixels, {MAX_SIDE} along a side",
            fix="send a smaller image",
        )
