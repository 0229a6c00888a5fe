"""What is trained: two variants of the digits network, made once; imports torch only when there is something to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from handlers import preprocess
from samples.recipes import Made, Progress, Recipe, silent
from slipway.errors import SampleUnavailable

#: Modules of ``handlers`` whose code decides pixels (a test compares with what is really imported).
PIXEL_MODULES = ("colour", "decode", "exif", "geometry", "headers", "picture", "preprocess", "sampling", "stages")


@dataclass(frozen=True)
class Variant:
    """One way to train. ``rotate`` degrees, ``shift`` and ``zoom`` as fractions: the limits of the augmentation."""

    width: int
    seed: int
    epochs: int
    rotate: float
    shift: float
    zoom: float
    batch_size: int = 64
    learning_rate: float = 0.005
    weight_decay: float = 1e-3
    smoothing: float = 0.05


#: ``base`` becomes version 1 and ``wide`` version 2: other seed, width and augmentation, so they really differ.
VARIANTS = {
    "base": Variant(width=16, seed=1, epochs=20, rotate=10.0, shift=0.08, zoom=0.10),
    "wide": Variant(width=24, seed=2, epochs=16, rotate=8.0, shift=0.06, zoom=0.08),
}


@dataclass(frozen=True)
class TrainingReport:
    """``accuracy``: fraction of the ``held_out`` files answered rightly; ``made``: this run's work."""

    variant: str
    weights: Path
    accuracy: float
    held_out: int
    parameters: int
    made: Made


def train(variant: str, out: Path, progress: Progress = silent, *, epochs: int | None = None) -> TrainingReport:
    """Trains ``base`` or ``wide`` and writes its state_dict to ``out`` (safetensors); skipped when it is there.

    The weights of the last epoch are kept: the held-out images choose nothing. ``epochs`` shortens a training in tests.
    Raises SampleUnavailable for an unknown variant, and where scikit-learn or torch is missing.
    """
    if variant not in VARIANTS:
        raise SampleUnavailable(f"digits has no training {variant!r}", expected=" or ".join(VARIANTS))
    settings = VARIANTS[variant] if epochs is None else replace(VARIANTS[variant], epochs=epochs)
    made = recipe(settings).make(out.with_suffix(".json"), lambda: _make(settings, variant, out, progress))
    progress(f"digits {variant} {'is there' if made.reused else 'is trained'}", 1.0)
    return TrainingReport(variant=variant, weights=out, made=made, **made.facts)


def _make(settings: Variant, variant: str, out: Path, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    from samples.digits.training import evaluate, fit
    from samples.weights import write_weights

    module = fit(settings, lambda done: progress(f"training digits {variant}", done))
    write_weights(module, out)
    right, total = evaluate(module)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [out], {"accuracy": right / total, "held_out": total, "parameters": parameters}


def recipe(settings: Variant) -> Recipe:
    """All that decides the weights: this folder's code, the serving code that prepares pixels, and the packages."""
    here = Path(__file__).parent
    sources = [*here.glob("*.py"), here.parent / "deterministic.py", *pixel_code()]
    return Recipe(asdict(settings), sources, ("torch", "numpy", "pillow", "scikit-learn"))


def pixel_code() -> list[Path]:
    """The files that turn encoded bytes into pixels: ``handlers.preprocess`` and what it imports."""
    folder = Path(str(preprocess.__file__)).parent
    return [folder / f"{name}.py" for name in PIXEL_MODULES]
