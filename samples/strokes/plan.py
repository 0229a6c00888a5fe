"""What is trained and which pictures are held out, each made once; imports torch only when there is something to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samples.code import code
from samples.recipes import Made, Progress, Recipe, afresh, silent
from slipway.contract import Preprocess

#: What the values of a mask mean; config/models/strokes.yaml says the same, and a test compares them.
LABELS = ("background", *"0123456789")
SIDE = 96
PREPROCESS = Preprocess(height=SIDE, width=SIDE, resize="letterbox", resize_to=SIDE)
#: Baked into the exported graph as (pixels / 255 - MEAN) / STD.
MEAN, STD = 0.5, 0.25


@dataclass(frozen=True)
class Training:
    """``digits``: least and most in a picture; ``heights``: of a digit, as a share of the picture's side."""

    width: int = 16
    seed: int = 7
    steps: int = 390
    batch_size: int = 12
    digits: tuple[int, int] = (3, 5)
    heights: tuple[float, float] = (0.26, 0.45)
    learning_rate: float = 0.005
    weight_decay: float = 1e-3


def train(out: Path, progress: Progress = silent, *, steps: int | None = None) -> Made:
    """Trains the network and writes its state_dict to ``out`` (safetensors), once. Facts: ``mean_iou`` on the held-out
    pictures, ``pictures``, ``parameters``. ``steps`` shortens a training in tests."""
    settings = Training() if steps is None else replace(Training(), steps=steps)
    made = recipe(asdict(settings)).make(out.with_suffix(".json"), lambda: _make(settings, out, progress))
    progress(f"strokes {'are there' if made.reused else 'are learnt'}", 1.0)
    return made


def _make(settings: Training, out: Path, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    from samples.strokes.training import evaluate, fit
    from samples.weights import write_weights

    module = fit(settings, lambda done: progress("training strokes", done))
    write_weights(module, out)
    mean_iou, pictures = evaluate(module)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [out], {"mean_iou": mean_iou, "pictures": pictures, "parameters": parameters}


def make_pictures(folder: Path) -> Made:
    """Writes the held-out pictures with ``truth.json`` and masks into ``folder``, once; the record lies beside it."""
    from samples.strokes.files import HELD_OUT

    record = folder.with_name(f"{folder.name}.json")
    return recipe({"pictures": HELD_OUT}).make(record, lambda: afresh(folder, write_pictures))


def write_pictures(folder: Path) -> list[Path]:
    """Writes them anywhere."""
    from samples.strokes.files import write

    return write(folder)


def recipe(parameters: dict[str, Any]) -> Recipe:
    """All that decides the result."""
    sources = code(
        strokes=("files", "network", "picture", "plan", "training"),
        scenes=("grounds", "ink"),
        digits=("images",),
        photos=("originals",),
    )
    return Recipe(parameters, sources, ("torch", "numpy", "pillow", "scikit-learn", "scikit-image"))
