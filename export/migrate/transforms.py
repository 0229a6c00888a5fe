"""The transforms of TorchServe's stock handlers, for the gate that compares a contract with the training's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from export.sources.torchvision_shim import import_torchvision

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def imagenet() -> Callable[[Image.Image], Tensor]:
    """``image_processing`` of ts/torch_handler/image_classifier.py and image_segmenter.py, 0.12.

    Raises EnvironmentUnfit where torchvision is not installed."""
    transforms = import_torchvision().transforms
    made: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    return made
