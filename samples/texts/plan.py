"""What of the sample is made once: the pictures with their truth, and the alphabet of the recognition network."""

from __future__ import annotations

from pathlib import Path

from samples.code import code
from samples.recipes import Made, Recipe, afresh

PACKAGES = ("matplotlib", "numpy", "pillow", "scikit-image", "scikit-learn")


def make_pictures(folder: Path) -> Made:
    """Writes the pictures with ``truth.json`` into ``folder``, once; the record lies beside it."""
    sources = code(texts=("files", "fonts", "picture", "words"))
    recipe = Recipe({"split": "test"}, sources, PACKAGES)
    return recipe.make(folder.with_name(f"{folder.name}.json"), lambda: afresh(folder, write_pictures))


def write_pictures(folder: Path) -> list[Path]:
    """Writes them anywhere."""
    from samples.texts.files import write

    return write(folder)


def make_symbols(path: Path) -> Made:
    """Writes the alphabet, once. Raises SampleUnavailable where the wheel that carries the networks is missing."""
    from samples.texts.files import write_symbols

    recipe = Recipe({"alphabet": 1}, code(texts=("files",)), ("onnx",))
    return recipe.make(path.with_suffix(".json"), lambda: (write_symbols(path), {}))
