"""Transforms as trainings have them: the one that the test's contract declares, and ones with a fault each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from export.sources.torchvision_shim import import_torchvision
from tests.export.small_model import LABELS, MEAN, STD

import_torchvision()

from torchvision import transforms  # noqa: E402
from torchvision.transforms import functional  # noqa: E402

CROP, RESIZE = 64, 73
CLASSES = list(LABELS)
TURNED = [*LABELS[1:], LABELS[0]]
CLASS_TO_IDX = {label: LABELS.index(label) for label in sorted(LABELS)}
BICUBIC = transforms.InterpolationMode.BICUBIC
Transform = Callable[[Image.Image], torch.Tensor]


def composed(*steps: Callable, mean: tuple = MEAN, std: tuple = STD) -> Transform:
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])


def good(resize: int = RESIZE) -> Transform:
    return composed(transforms.Resize(resize), transforms.CenterCrop(CROP))


def swapped() -> Transform:
    to_bgr = transforms.Lambda(lambda image: Image.fromarray(np.asarray(image)[..., ::-1]))
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(CROP), to_bgr)


def swapped_at_the_end() -> Transform:
    return lambda picture: good()(picture).flip(0)


def wrong_mean() -> Transform:
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(CROP), mean=(0.5, 0.5, 0.5))


def wrong_std() -> Transform:
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(CROP), std=(0.5, 0.5, 0.5))


def wrong_mean_and_channels() -> Transform:
    return lambda picture: wrong_mean()(picture).flip(0)


def not_scaled(picture: Image.Image) -> torch.Tensor:
    pixels = functional.pil_to_tensor(functional.center_crop(functional.resize(picture, RESIZE), CROP)).float()
    return functional.normalize(pixels, MEAN, STD)


def not_normalised(picture: Image.Image) -> np.ndarray:
    resized = functional.center_crop(functional.resize(picture, RESIZE), CROP)
    return np.asarray(resized).transpose(2, 0, 1)[None]


def without_antialias(picture: Image.Image) -> torch.Tensor:
    resized = functional.resize(functional.to_tensor(picture), RESIZE, antialias=False)
    return functional.normalize(functional.center_crop(resized, CROP), MEAN, STD)


def stretched() -> Transform:
    return composed(transforms.Resize((CROP, CROP)))


def not_cropped() -> Transform:
    return composed(transforms.Resize(CROP), transforms.CenterCrop(CROP))


def bicubic() -> Transform:
    return composed(transforms.Resize(RESIZE, interpolation=BICUBIC), transforms.CenterCrop(CROP))


def grey() -> Transform:
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(CROP), transforms.Grayscale(3))


def letterboxed() -> Transform:
    return composed(lambda picture: _letterbox(picture, 0.5))


def cornered() -> Transform:
    return composed(lambda picture: _letterbox(picture, 0.0))


def _letterbox(picture: Image.Image, place: float) -> Image.Image:
    scale = min(CROP / picture.width, CROP / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Image.new("RGB", (CROP, CROP), (114, 114, 114))
    canvas.paste(picture.resize(size, Image.Resampling.BILINEAR), tuple(int((CROP - side) * place) for side in size))
    return canvas


def stretched_then_cropped() -> Transform:
    return composed(transforms.Resize((RESIZE, RESIZE)), transforms.CenterCrop(CROP))


def cropped_then_resized() -> Transform:
    return composed(transforms.CenterCrop(96), transforms.Resize((CROP, CROP)))


def cropped_only() -> Transform:
    return composed(transforms.CenterCrop(CROP))


def mirrored() -> Transform:
    """Training-time augmentation left in, which no key of a contract stands for."""
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(CROP), functional.hflip)


def of_another_size() -> Transform:
    return composed(transforms.Resize(RESIZE), transforms.CenterCrop(72))


def failing(picture: Image.Image) -> torch.Tensor:
    raise OSError(f"no augmentation for {picture.mode}")


def infinite(picture: Image.Image) -> torch.Tensor:
    return torch.full((3, CROP, CROP), float("inf"))


def no_transform() -> int:
    return 7


def broken_factory() -> Transform:
    raise KeyError("size")


def class_names() -> list[str]:
    return CLASSES
