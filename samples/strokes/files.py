"""The held-out pictures as files: PNG and JPEG of many sizes, ``truth.json``, and a mask for each in ``masks/``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from handlers.masks import png
from samples.strokes.picture import Drawn, Plan, draw

#: So many decide whether an export loses a point of mean intersection over union.
HELD_OUT = 360
_SEED = 1717


def held_out(number: int) -> Drawn:
    """A picture of scans and photographs never trained on: 160 to 299 pixels wide and high, with 1 to 5 digits."""
    random = np.random.default_rng((_SEED, number))
    width, height = (int(side) for side in random.integers(160, 300, 2))
    return draw(Plan((width, height), (1, 5), (0.26, 0.45)), "test", random)


def write(folder: Path) -> list[Path]:
    """``0000.png``, ``0001.jpg``, ...; ``truth.json``: ``{"0000.png": {"mask": "masks/0000.png"}, ...}``."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    paths, truth = [], {}
    for number in range(HELD_OUT):
        drawn = held_out(number)
        path, mask = folder / f"{number:04d}.{'jpg' if number % 2 else 'png'}", folder / "masks" / f"{number:04d}.png"
        Image.fromarray(drawn.pixels).save(path, quality=95)  # of JPEG; PNG has none
        mask.write_bytes(png(drawn.mask))
        truth[path.name] = {"mask": f"masks/{mask.name}"}
        paths += [path, mask]
    known = folder / "truth.json"
    known.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, known]
