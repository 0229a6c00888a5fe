"""The pictures as files, with ``truth.json``, and the alphabet that the recognition network answers in."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from samples.texts.fonts import NAMES
from samples.texts.picture import Look, Pixels, draw
from samples.texts.words import line
from slipway.errors import SampleUnavailable

LINES, PAGES = 50, 10
_SEED = 4101
#: The network whose metadata hold its symbols, inside the rapidocr wheel.
_RECOGNISER = "models/PP-OCRv6_rec_small.onnx"


@dataclass(frozen=True, eq=False)
class Drawn:
    """``texts``: in reading order."""

    name: str
    pixels: Pixels
    texts: tuple[str, ...]


def pictures() -> Iterator[Drawn]:
    """50 single lines, then 10 pages of several; the same at every call."""
    for number in range(LINES):
        random = np.random.default_rng((_SEED, number))
        text = line(random)
        yield Drawn(_name("line", number), draw([[text]], _look(number, random), random), (text,))
    for number in range(PAGES):
        random = np.random.default_rng((_SEED, LINES + number))
        rows = [[line(random, 3) for _ in range(1 + number % 2)] for _ in range(int(random.integers(4, 9)))]
        look = _page_look(number, random)
        yield Drawn(_name("page", number), draw(rows, look, random), tuple(text for row in rows for text in row))


def write(folder: Path) -> list[Path]:
    """``line-00.png``, ``line-01.jpg``, ..., ``page-00.png``, ...; and ``truth.json``, their texts in reading order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, truth = [], {}
    for drawn in pictures():
        path = folder / drawn.name
        Image.fromarray(drawn.pixels).save(path, quality=88)  # of JPEG; PNG has none
        truth[path.name] = {"texts": list(drawn.texts)}
        paths.append(path)
    known = folder / "truth.json"
    known.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, known]


def write_symbols(path: Path) -> list[Path]:
    """One symbol per line, in the order of the recognition network's outputs: the blank (empty), the characters of the
    file's metadata, the space. Raises SampleUnavailable where the wheel is missing or holds another file."""
    import onnx

    model = onnx.load(str(recogniser()), load_external_data=False)
    known = next((entry.value for entry in model.metadata_props if entry.key == "character"), "")
    symbols = ["", *known.splitlines(), " "]
    outputs = int(model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value)
    if len(symbols) != outputs:
        raise SampleUnavailable(
            "the recognition network's alphabet does not fit its outputs",
            observed=f"{len(symbols)} symbols",
            expected=f"{outputs} symbols",
            fix="install rapidocr as requirements/ pins it",
        )
    path.write_text("".join(f"{symbol}\n" for symbol in symbols), encoding="utf-8", newline="\n")
    return [path]


def recogniser() -> Path:
    """The network's file in the wheel; raises SampleUnavailable."""
    spec = importlib.util.find_spec("rapidocr")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location) / _RECOGNISER
        if path.is_file():
            return path
    raise SampleUnavailable(
        "the networks of text recognition are not on this machine",
        observed=f"no rapidocr/{_RECOGNISER}",
        expected="the rapidocr wheel, which carries them",
        fix="install the project's pinned requirements: make setup",
    )


def _name(kind: str, number: int) -> str:
    return f"{kind}-{number:02d}.{'jpg' if number % 2 else 'png'}"


def _look(number: int, random: np.random.Generator) -> Look:
    """Every fifth line stands on its head, every second is a little turned, every third lies on a photograph."""
    angle = float(random.uniform(-8, 8)) if number % 2 else 0.0
    return Look(
        font=NAMES[number % len(NAMES)],
        size=int(random.choice([16, 20, 24, 28, 36, 48, 64])),
        angle=angle + (180 if number % 5 == 4 else 0),
        photo=float(random.uniform(0.2, 0.5)) if number % 3 == 0 else 0.0,
        ink=float(random.uniform(110, 190)) * (-1 if number % 4 == 3 else 1),
        noise=float(random.uniform(0, 14)),
        blur=float(random.choice([0.0, 0.0, 0.6, 0.9])),
    )


def _page_look(number: int, random: np.random.Generator) -> Look:
    """Pages have text large enough to be read with the whole; one stands on its head, one lies on its side."""
    angle = {3: 180.0, 7: 90.0}.get(number, float(random.uniform(-5, 5)) if number % 2 else 0.0)
    return Look(
        font=NAMES[(3 * number) % len(NAMES)],
        size=int(random.integers(20, 34)),
        angle=angle,
        photo=float(random.uniform(0.2, 0.4)) if number % 3 == 0 else 0.0,
        ink=float(random.uniform(120, 190)) * (-1 if number % 4 == 3 else 1),
        noise=float(random.uniform(0, 10)),
    )
