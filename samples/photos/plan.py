"""What the photos sample makes: the photographs, and the weights of the networks that answer them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from samples.digits.variants import pixel_code
from samples.photos.catalogue import write_photos
from samples.recipes import Made, Progress, Recipe, afresh, silent
from slipway.contract import Preprocess

#: The usual evaluation transform of ImageNet networks; config/models say the same of them, a test compares them.
PREPROCESS = Preprocess(height=224, width=224, resize="shorter_side", resize_to=256)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: torchvision builder -> seed of its random weights.
ARCHITECTURES = {"resnet18": 18, "resnet50": 50, "mobilenet_v3_large": 3}

_PHOTO_PACKAGES = ("pillow", "scikit-image", "scikit-learn")


def make_photos(folder: Path, progress: Progress = silent) -> Made:
    """Writes the catalogue into ``folder``, once; the record lies beside the folder."""
    progress("writing photographs", 0.0)
    record = folder.with_name(f"{folder.name}.json")
    return Recipe({}, _photo_code(), _PHOTO_PACKAGES).make(record, lambda: afresh(folder, write_photos))


def make_weights(arch: str, out: Path, progress: Progress = silent) -> Made:
    """Writes the random weights of one of ``ARCHITECTURES``, once."""

    def make() -> tuple[list[Path], dict[str, int]]:
        from samples.photos.weights import random_weights

        progress(f"drawing random weights of {arch}", 0.0)
        return [out], asdict(random_weights(arch, out, ARCHITECTURES[arch]))

    packages = ("torch", "torchvision", "numpy", *_PHOTO_PACKAGES)
    sources = [*_photo_code(), *pixel_code(), _here().parent / "deterministic.py"]
    return Recipe({"arch": arch, "seed": ARCHITECTURES[arch]}, sources, packages).make(out.with_suffix(".json"), make)


def _here() -> Path:
    return Path(__file__).parent


def _photo_code() -> list[Path]:
    return sorted(_here().glob("*.py"))
