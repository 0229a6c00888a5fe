"""The photographs by name: what each is, and how it is made from the wheels' originals.

| file | what it is |
| --- | --- |
| astronaut.png, coffee.png, chelsea.png | colour, square and landscape |
| rocket.jpg, china.jpg, flower.jpg, hubble.jpg, retina.jpg | colour JPEGs, 640x427 to 1411x1411 |
| camera.png, moon.png, coins.png | 8-bit grey |
| page.png, text.png | printed and handwritten text |
| logo.png, horse.png, cut-out.png | RGBA: opaque, half transparent, transparent around |
| tiny.gif | 14x25, 24 frames |
| the rest | encodings made here with Pillow; ``slipway samples photos`` lists them |

Names have no underscore, because ``<label>_<index>`` marks a labelled image and these have no labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from samples.photos import variants
from samples.photos.originals import opened, original

#: 20 megapixels as a camera of 2010 to 2020 writes them.
_LARGE = (5472, 3648)


@dataclass(frozen=True)
class Photo:
    """One file: ``what`` says in a few words what is odd about it; ``encoded`` makes its bytes."""

    name: str
    what: str
    encoded: Callable[[], bytes]


def _copy(name: str, original_name: str, what: str) -> Photo:
    return Photo(name, what, lambda: original(original_name).read_bytes())


def _large() -> bytes:
    return variants.jpeg(opened("china.jpg").resize(_LARGE, Image.Resampling.BICUBIC), quality=75)


PHOTOS: tuple[Photo, ...] = (
    _copy("astronaut.png", "astronaut.png", "colour, square, 512x512"),
    _copy("coffee.png", "coffee.png", "colour, landscape, 600x400"),
    _copy("chelsea.png", "chelsea.png", "a cat, landscape, 451x300"),
    _copy("motorcycle.png", "motorcycle_left.png", "colour, 741x500"),
    _copy("rocket.jpg", "rocket.jpg", "JPEG, 640x427"),
    _copy("china.jpg", "china.jpg", "JPEG, 640x427"),
    _copy("flower.jpg", "flower.jpg", "JPEG, 640x427"),
    _copy("hubble.jpg", "hubble_deep_field.jpg", "JPEG, mostly black, 1000x872"),
    _copy("retina.jpg", "retina.jpg", "JPEG, a medical scan, 1411x1411"),
    _copy("camera.png", "camera.png", "8-bit grey, 512x512"),
    _copy("moon.png", "moon.png", "8-bit grey, low contrast, 512x512"),
    _copy("coins.png", "coins.png", "8-bit grey, 384x303"),
    _copy("page.png", "page.png", "a printed page, grey, 384x191"),
    _copy("text.png", "text.png", "handwriting, grey, 448x172"),
    _copy("logo.png", "logo.png", "RGBA, opaque, 500x500"),
    _copy("horse.png", "horse.png", "RGBA, partly transparent, 400x328"),
    _copy("tiny.gif", "no_time_for_that_tiny.gif", "animated GIF, 24 frames of 14x25"),
    Photo("portrait.jpg", "portrait, 240x400", lambda: variants.jpeg(opened("coffee.png").crop((200, 0, 440, 400)))),
    Photo("strip.png", "16:1, 512x32", lambda: variants.png(opened("astronaut.png").crop((0, 90, 512, 122)))),
    Photo("thumbnail.png", "smaller than any network's input, 23x15", lambda: _thumbnail((23, 15))),
    Photo("one-pixel.png", "1x1", lambda: _thumbnail((1, 1))),
    Photo("large.jpg", "20 megapixels, 5472x3648: china.jpg scaled up", _large),
    Photo("grey.jpg", "JPEG with one component", lambda: variants.jpeg(opened("camera.png", "L"))),
    Photo("cmyk.jpg", "JPEG in CMYK, as print shops send it", lambda: variants.jpeg(opened("coffee.png", "CMYK"))),
    Photo("progressive.jpg", "progressive JPEG", lambda: variants.jpeg(opened("chelsea.png"), progressive=True)),
    Photo("exif-180.jpg", "EXIF orientation 3: upside down", lambda: variants.exif_rotated(opened("rocket.jpg"), 3)),
    Photo("exif-90.jpg", "EXIF orientation 6: turned", lambda: variants.exif_rotated(opened("china.jpg"), 6)),
    Photo("sixteen-bit.png", "16-bit grey PNG", lambda: variants.sixteen_bit(opened("moon.png", "L"))),
    Photo("palette.png", "256 colours by palette", lambda: variants.palette(opened("flower.jpg"))),
    Photo(
        "palette-transparent.png",
        "palette with a transparent colour",
        lambda: variants.palette_with_transparency(opened("chelsea.png")),
    ),
    Photo("cut-out.png", "RGBA, transparent around", lambda: variants.png(variants.cut_out(opened("astronaut.png")))),
    Photo(
        "grey-alpha.png",
        "grey with an alpha channel",
        lambda: variants.png(variants.cut_out(opened("camera.png")).convert("LA")),
    ),
    Photo("lossy.webp", "WebP", lambda: variants.webp(opened("astronaut.png"), quality=80)),
    Photo(
        "alpha.webp",
        "lossless WebP with alpha",
        lambda: variants.webp(variants.cut_out(opened("coffee.png")), lossless=True),
    ),
    Photo("bitmap.bmp", "uncompressed BMP", lambda: variants.bmp(opened("chelsea.png"))),
    Photo("animation.gif", "two frames", lambda: variants.animation(opened("coffee.png"), opened("chelsea.png"))),
)


def _thumbnail(size: tuple[int, int]) -> bytes:
    return variants.png(opened("chelsea.png").resize(size, Image.Resampling.BOX))


def write_photos(out_dir: Path) -> list[Path]:
    """Writes every photograph and returns the paths, in the catalogue's order."""
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for photo in PHOTOS:
        path = out_dir / photo.name
        path.write_bytes(photo.encoded())
        paths.append(path)
    return paths
