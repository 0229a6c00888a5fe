"""What the faces sample makes: pictures with their truth, and networks with random weights that describe a face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samples.code import code
from samples.recipes import Made, Progress, Recipe, afresh, silent

SPLITS = ("test", "big")
GENDERS = ("female", "male")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
EMOTIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
#: Numbers of a face's vector.
IDENTITY = 512
#: File of each describing network, how many outputs it has, and the seed of its RANDOM weights.
DESCRIBERS = {
    "identity.onnx": (IDENTITY, 512),
    "age.safetensors": (len(AGES), 90),
    "gender.safetensors": (len(GENDERS), 20),
    "emotion.safetensors": (len(EMOTIONS), 80),
}


def make_pictures(folder: Path, split: str) -> Made:
    """Writes a split's pictures and their truth.json into ``folder``, once; the record lies beside the folder."""
    record = folder.with_name(f"{folder.name}.json")
    return recipe({"split": split}).make(record, lambda: afresh(folder, lambda to: write_pictures(split, to)))


def write_pictures(split: str, folder: Path) -> list[Path]:
    """Writes them anywhere."""
    from samples.faces.files import write

    return write(split, folder)


def make_describer(out: Path, progress: Progress = silent) -> Made:
    """Writes one of ``DESCRIBERS``, once; ``out``: a file of that name."""
    outputs, seed = DESCRIBERS[out.name]

    def make() -> tuple[list[Path], dict[str, Any]]:
        from samples.faces.describers import write_random

        progress(f"drawing random weights of {out.stem}", 0.0)
        write_random(outputs, seed, out)
        return [out], {"weights": "random", "outputs": outputs}

    return recipe({"outputs": outputs, "seed": seed}).make(out.with_name(f"{out.stem}.json"), make)


def recipe(parameters: dict[str, Any]) -> Recipe:
    """All that decides the result."""
    sources = code(faces=("describers", "files", "plan", "portraits", "scene"), photos=("originals", "variants"))
    return Recipe(parameters, sources, ("torch", "onnx", "numpy", "pillow", "scikit-learn", "scikit-image"))
