"""One image on its way through a task: its header checked at once, its pixels decoded when they are first asked for."""

from __future__ import annotations

from PIL import Image

from handlers.decode import EncodedImage
from handlers.stages import stage
from slipway.contract import Preprocess


class Picture:
    """``size``: (width, height) in pixels of the upright picture, after EXIF rotation; ``encoded``: the file."""

    def __init__(self, encoded: bytes, max_pixels: int, max_bytes: int) -> None:
        """Reads the header. Raises the ImageError that fits."""
        self.encoded = encoded
        self._max_pixels, self._max_bytes = max_pixels, max_bytes
        self._opened = EncodedImage(encoded, max_pixels, max_bytes)
        self._image: Image.Image | None = None
        self.size: tuple[int, int] = self._opened.size

    @classmethod
    def of(cls, encoded: bytes, limits: Preprocess) -> Picture:
        """With ``max_pixels`` and ``max_bytes`` of a contract's preprocessing."""
        return cls(encoded, limits.max_pixels, limits.max_bytes)

    def image(self) -> Image.Image:
        """The upright picture in mode RGB at full scale, decoded once. Raises ImageTruncated or ImageCorrupt."""
        if self._image is None:
            with stage("decode"):
                self._image = self._opened.decode()
        return self._image

    def opened(self) -> EncodedImage:
        """The file opened anew, for a caller that decodes it at a reduced scale."""
        return EncodedImage(self.encoded, self._max_pixels, self._max_bytes)
