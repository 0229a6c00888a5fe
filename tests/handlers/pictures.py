"""Real photographs for the tests, out of the installed scikit-image and scikit-learn wheels (never imported)."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

_PLACES = (("skimage", "data"), ("sklearn", "datasets/images"))

#: Fourteen kinds: RGB, grey, RGBA, GIF palette, square, wide, tall, tiny, odd sides, scans, drawings.
ODD = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "china.jpg",
    "flower.jpg",
    "retina.jpg",
    "hubble_deep_field.jpg",
    "page.png",
    "text.png",
    "microaneurysms.png",
    "cell.png",
    "horse.png",
    "no_time_for_that_tiny.gif",
)


@cache
def read(name: str) -> bytes:
    """The encoded bytes of one photograph."""
    for package, folder in _PLACES:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            path = Path(place) / folder / name
            if path.is_file():
                return path.read_bytes()
    raise FileNotFoundError(f"{name}: install scikit-image and scikit-learn beside the tests")


def picture(name: str = "chelsea.png") -> Image.Image:
    """A photograph decoded by Pillow in mode RGB."""
    return Image.open(io.BytesIO(read(name))).convert("RGB")


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """``image`` as a file of that format."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()
