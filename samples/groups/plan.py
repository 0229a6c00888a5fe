"""What is trained and which pictures are held out, each made once; imports torch only when there is something to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samples.code import code
from samples.recipes import Made, Progress, Recipe, afresh, silent
from slipway.contract import Preprocess

#: What the network's outputs mean; config/models/groups.yaml says the same, and a test compares them.
LABELS = tuple("0123456789")
SIDE = 64
PREPROCESS = Preprocess(height=SIDE, width=SIDE, resize="stretch", resize_to=SIDE)
#: Baked into the exported graph as (pixels / 255 - MEAN) / STD.
MEAN, STD = 0.5, 0.25
#: A digit is named where its score reaches this.
SCORE_THRESHOLD = 0.5
#: Least and most digits of a picture, and their heights as a share of its side.
DIGITS, HEIGHTS = (2, 3), (0.34, 0.48)


@dataclass(frozen=True)
class Training:
    """See samples.groups.training."""

    width: int = 16
    seed: int = 11
    steps: int = 300
    batch_size: int = 24
    learning_rate: float = 0.004
    weight_decay: float = 1e-3


def train(out: Path, progress: Progress = silent, *, steps: int | None = None) -> Made:
    """Trains the network and writes its state_dict to ``out`` (safetensors), once. Facts, on the held-out pictures:
    ``mean_average_precision`` over the digits, ``f1`` per picture at the threshold, ``pictures``; ``parameters``.
    ``steps`` shortens a training in tests."""
    settings = Training() if steps is None else replace(Training(), steps=steps)
    made = recipe(asdict(settings)).make(out.with_suffix(".json"), lambda: _make(settings, out, progress))
    progress(f"groups {'are there' if made.reused else 'are learnt'}", 1.0)
    return made


def make_pictures(folder: Path) -> Made:
    """Writes the held-out pictures with ``truth.json`` into ``folder``, once; the record lies beside it."""
    from samples.groups.files import HELD_OUT

    record = folder.with_name(f"{folder.name}.json")
    return recipe({"pictures": HELD_OUT}).make(record, lambda: afresh(folder, write_pictures))


def write_pictures(folder: Path) -> list[Path]:
    """Writes them anywhere."""
    from samples.groups.files import write

    return write(folder)


def recipe(parameters: dict[str, Any]) -> Recipe:
    """All that decides the result."""
    sources = code(
        groups=("files", "network", "plan", "training"),
        strokes=("network", "picture"),
        scenes=("grounds", "ink"),
        digits=("images",),
        photos=("originals",),
    )
    return Recipe(parameters, sources, ("torch", "numpy", "pillow", "scikit-learn", "scikit-image"))


def _make(settings: Training, out: Path, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    from samples.groups.training import evaluate, fit
    from samples.weights import write_weights

    module = fit(settings, lambda done: progress("training groups", done))
    write_weights(module, out)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [out], {**evaluate(module), "parameters": parameters}
