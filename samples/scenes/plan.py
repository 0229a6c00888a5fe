"""What is trained and which scenes are written, each once; imports torch only when there is something to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from samples.digits import images
from samples.photos import originals
from samples.recipes import Made, Progress, Recipe, afresh, silent
from samples.scenes.files import SPLITS, write_scenes
from slipway.contract import Preprocess

#: How a scene reaches its network; config/models/scenes.yaml says the same, and a test compares them.
PREPROCESS = Preprocess(height=416, width=416, resize="letterbox")
#: Baked into the exported graph as (pixels / 255 - MEAN) / STD.
MEAN, STD = 0.5, 0.25

_SCENE_PACKAGES = ("numpy", "pillow", "scikit-image", "scikit-learn")


@dataclass(frozen=True)
class Training:
    """``side``: of the scenes that are trained on, pixels; the network has no size of its own. ``digits``: least and
    most on each. ``width``: channels of the network's first stage."""

    width: int = 16
    seed: int = 5
    steps: int = 440
    batch_size: int = 16
    side: int = 208
    digits: tuple[int, int] = (0, 9)
    learning_rate: float = 0.004
    weight_decay: float = 1e-3


def train(out: Path, progress: Progress = silent, *, steps: int | None = None) -> Made:
    """Trains the detector and writes its state_dict to ``out`` (safetensors), once; two to three minutes of a core.

    Facts: ``parameters``, and on the held-out scenes ``map50``, COCO's mean average precision at an overlap of 0.5,
    and ``map``, at 0.5 to 0.95. The weights of the last step are kept: the held-out scenes choose nothing. ``steps``
    shortens a training in tests. Raises SampleUnavailable where scikit-learn or its images are missing.
    """
    settings = Training() if steps is None else replace(Training(), steps=steps)
    sources = [*_scene_code(), _here().parent / "deterministic.py"]
    recipe = Recipe(asdict(settings), sources, ("torch", *_SCENE_PACKAGES))
    made = recipe.make(out.with_suffix(".json"), lambda: _make(settings, out, progress))
    progress(f"scenes {'are there' if made.reused else 'detector is trained'}", 1.0)
    return made


def make_scenes(folder: Path, split: str) -> Made:
    """Writes a split's scenes and their truth.json into ``folder``, once; the record lies beside the folder."""
    recipe = Recipe({"split": split, **asdict(SPLITS[split])}, _scene_code(), _SCENE_PACKAGES)
    return recipe.make(
        folder.with_name(f"{folder.name}.json"), lambda: afresh(folder, lambda to: write_scenes(split, to))
    )


def _make(settings: Training, out: Path, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    from samples.scenes.training import evaluate, fit
    from samples.weights import write_weights

    module = fit(settings, lambda done: progress("training the scenes detector", done))
    write_weights(module, out)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [out], {"parameters": parameters, **evaluate(module)}


def _here() -> Path:
    return Path(__file__).parent


def _scene_code() -> list[Path]:
    """All code that decides a scene's pixels, and what is learned from them."""
    return [*sorted(_here().glob("*.py")), Path(images.__file__), Path(originals.__file__)]
