"""The held-out pictures as files, PNG and JPEG, with ``truth.json`` saying which digits are in each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from samples.groups.plan import DIGITS, HEIGHTS, LABELS
from samples.strokes.picture import Drawn, Plan, draw

HELD_OUT = 300
_SEED = 2323


def held_out(number: int) -> Drawn:
    """A picture of scans and photographs never trained on: square, 64 to 191 pixels, with 2 or 3 digits."""
    random = np.random.default_rng((_SEED, number))
    side = int(random.integers(64, 192))
    return draw(Plan((side, side), DIGITS, HEIGHTS), "test", random)


def write(folder: Path) -> list[Path]:
    """``0000.png``, ``0001.jpg``, ...; ``truth.json``: ``{"0000.png": {"labels": ["3", "5"]}, ...}``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, truth = [], {}
    for number in range(HELD_OUT):
        drawn = held_out(number)
        path = folder / f"{number:04d}.{'jpg' if number % 2 else 'png'}"
        Image.fromarray(drawn.pixels).save(path, quality=95)  # of JPEG; PNG has none
        truth[path.name] = {"labels": [LABELS[digit] for digit in sorted(set(drawn.digits))]}
        paths.append(path)
    known = folder / "truth.json"
    known.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, known]
