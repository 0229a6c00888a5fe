"""Pictures with faces as files, and what is true of them in truth.json: boxes in pixels of the upright picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from samples.faces.portraits import PHOTOGRAPHS
from samples.faces.scene import GROUNDS, Drawn, Plan, draw
from samples.photos import variants
from samples.photos.originals import opened

TRUTH = "truth.json"
#: Every orientation that a camera writes (EXIF tag 274), and how the STORED pixels must be turned so that a viewer that
#: obeys the tag shows the picture upright.
ORIENTATIONS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
#: 20 megapixels.
LARGE = (5472, 3648)

THREE = Plan((480, 320), 2, 1, (80, 150))
FORTY = Plan((1280, 854), 40)
#: Of test scenes: none to six people.
SCENES = tuple(Plan((480, 320), people, sides=(40, 120)) for people in range(7))
_SEED = 4_000
_ORIENTATION = 0x0112
#: A file's name, the picture with its boxes, and the orientation in which it is stored.
Named = tuple[str, Drawn, int]


def _test() -> Iterator[Named]:
    """Photographs with one face and with none, three faces in every orientation, forty, and scenes."""
    for name, box in PHOTOGRAPHS.items():
        yield f"one-{name}", Drawn(opened(name), np.array([box], np.float32)), 1
    for name in GROUNDS:
        yield f"none-{Path(name).stem}.jpg", Drawn(opened(name), np.zeros((0, 4), np.float32)), 1
    three = draw(THREE, np.random.default_rng(_SEED))
    for orientation in ORIENTATIONS:
        yield f"three-exif-{orientation}.jpg", three, orientation
    yield "forty.jpg", draw(FORTY, np.random.default_rng(_SEED + 1)), 1
    for number, plan in enumerate(SCENES * 3):
        yield f"scene-{number:02d}.jpg", draw(plan, np.random.default_rng(_SEED + 10 + number)), 1


def _big() -> Iterator[Named]:
    """20 megapixels: people from 60 to 1400 pixels, upright and stored turned."""
    plan = Plan(LARGE, 12, 3, (120, 1400))
    yield "large.jpg", draw(plan, np.random.default_rng(_SEED + 2)), 1
    yield "large-exif-6.jpg", draw(plan, np.random.default_rng(_SEED + 3)), 6


SPLITS: dict[str, Callable[[], Iterator[Named]]] = {"test": _test, "big": _big}


def write(split: str, folder: Path) -> list[Path]:
    """Writes a split's pictures and its truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[str, dict[str, object]] = {}
    paths = []
    for name, drawn, orientation in SPLITS[split]():
        path = folder / name
        path.write_bytes(_encoded(drawn.picture, path.suffix, orientation))
        truth[name] = {"boxes": drawn.boxes.round(1).tolist()}
        paths.append(path)
    known = folder / TRUTH
    known.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, known]


def _encoded(picture: Image.Image, suffix: str, orientation: int) -> bytes:
    if suffix == ".png":
        return variants.png(picture)
    turn = ORIENTATIONS[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    stored = picture if turn is None else picture.transpose(turn)
    return variants.jpeg(stored, quality=88, exif=exif)
