"""What is trained and which scans are held out; imports torch only when there is something to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from samples.code import code
from samples.recipes import Made, Progress, Recipe, afresh, silent


@dataclass(frozen=True)
class Training:
    """``rotate`` degrees, ``shift`` and ``zoom`` as fractions: the limits of the augmentation. ``scale`` and
    ``margin``: of the loss, see samples.vectors.training."""

    width: int = 16
    dimension: int = 64
    seed: int = 3
    epochs: int = 25
    rotate: float = 10.0
    shift: float = 0.08
    zoom: float = 0.10
    batch_size: int = 64
    learning_rate: float = 0.005
    weight_decay: float = 1e-3
    scale: float = 16.0
    margin: float = 0.3


def train(out: Path, progress: Progress = silent, *, epochs: int | None = None) -> Made:
    """Trains the network and writes its state_dict to ``out`` (safetensors), once. Facts: ``recall_at_1`` of the
    held-out scans among each other, ``scans``, ``parameters``. ``epochs`` shortens a training in tests."""
    settings = Training() if epochs is None else replace(Training(), epochs=epochs)
    made = recipe(settings).make(out.with_suffix(".json"), lambda: _make(settings, out, progress))
    progress(f"vectors {'are there' if made.reused else 'are learnt'}", 1.0)
    return made


def make_scans(folder: Path) -> Made:
    """Writes the held-out scans with ``truth.json`` into ``folder``, once; the record lies beside it."""
    sources = code(vectors=("files",), digits=("images",))
    recipe = Recipe({"split": "test"}, sources, ("numpy", "pillow", "scikit-learn"))
    return recipe.make(folder.with_name(f"{folder.name}.json"), lambda: afresh(folder, write_scans))


def write_scans(folder: Path) -> list[Path]:
    """Writes them anywhere."""
    from samples.vectors.files import write

    return write(folder)


def recipe(settings: Training) -> Recipe:
    """All that decides the weights."""
    sources = code(vectors=("network", "plan", "training"), digits=("augmentation", "images", "network", "training"))
    return Recipe(asdict(settings), sources, ("torch", "numpy", "pillow", "scikit-learn"))


def _make(settings: Training, out: Path, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    from samples.vectors.training import evaluate, fit
    from samples.weights import write_weights

    module = fit(settings, lambda done: progress("training vectors", done))
    write_weights(module, out)
    recall, scans = evaluate(module)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [out], {"recall_at_1": recall, "scans": scans, "parameters": parameters}
