"""The builder of a source by its key: factory, torchvision or timm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from export.sources.factory import build_from_factory
from export.sources.timm_builder import build_from_timm
from export.sources.torchvision_builder import build_from_torchvision
from slipway.errors import SourceInvalid

if TYPE_CHECKING:
    from slipway.spec import SourceSpec


def build(source: SourceSpec, root: Path, num_classes: int | None) -> tuple[nn.Module, str]:
    """The module with random weights and its description, by whichever builder the source names."""
    arguments = dict(source.arguments)
    if source.factory is not None:
        return build_from_factory(source.factory, arguments, root)
    if source.torchvision is not None:
        return build_from_torchvision(source.torchvision, arguments, num_classes)
    if source.timm is not None:
        return build_from_timm(source.timm, arguments, num_classes)
    raise SourceInvalid("the source names no builder", expected="factory, torchvision or timm")
