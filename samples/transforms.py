"""Evaluation transforms of training recipes, for specifications to name under ``gates.preprocessing.transform``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from samples.photos.plan import MEAN, STD

Transform = Callable[[Image.Image], Any]


def imagenet(resize: int = 256, crop: int = 224, interpolation: str = "bilinear", antialias: bool = True) -> Transform:
    """torchvision's usual evaluation transform of ImageNet networks, from a picture in RGB to float32[3, crop, crop].

    ``resize``: of the shorter side, pixels; ``interpolation``: a name of torchvision's InterpolationMode. Pillow
    pictures are always antialiased by torchvision; without ``antialias`` the resizing is done on tensors.
    """
    from export.sources.torchvision_shim import import_torchvision

    import_torchvision()
    from torchvision import transforms

    mode = transforms.InterpolationMode(interpolation)
    resized = transforms.Resize(resize, interpolation=mode, antialias=antialias)
    geometry = [resized, transforms.CenterCrop(crop)]
    to_tensor = transforms.ToTensor()
    order = [*geometry, to_tensor] if antialias else [to_tensor, *geometry]
    composed: Transform = transforms.Compose([*order, transforms.Normalize(MEAN, STD)])
    return composed
