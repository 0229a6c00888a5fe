"""The scenes detector: one convolutional trunk, one anchor-free head at stride 8 (in the manner of FCOS, Tian et al.,
arXiv 1904.01355), built by the factory that the model spec names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

NUM_CLASSES = 10
STRIDE = 8
#: Of the classes' start value: a tenth of a percent of the places holds a digit (Lin et al., arXiv 1708.02002).
_PRIOR_LOGIT = -4.6


class SceneDetector(nn.Module):
    """``float32[N, 3, H, W]``, normalised, H and W multiples of 16, to ``float32[N, H/8 * W/8, 4 + classes]``.

    Of each place, row by row: x1, y1, x2, y2 in input pixels, then a probability of every class, each by itself.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.to_stride_4 = nn.Sequential(
            _Convolution(3, width, 2), _Convolution(width, 2 * width, 2), _Residual(2 * width)
        )
        self.to_stride_8 = nn.Sequential(
            _Convolution(2 * width, 4 * width, 2), _Residual(4 * width), _Residual(4 * width)
        )
        self.to_stride_16 = nn.Sequential(_Convolution(4 * width, 6 * width, 2), _Residual(6 * width))
        self.back = nn.Conv2d(6 * width, 4 * width, 1)
        self.neck = _Convolution(4 * width, 4 * width)
        self.classes = nn.Sequential(_Convolution(4 * width, 4 * width), nn.Conv2d(4 * width, classes, 1))
        self.sides = nn.Sequential(_Convolution(4 * width, 2 * width), nn.Conv2d(2 * width, 4, 1))
        nn.init.constant_(self.classes[1].bias, _PRIOR_LOGIT)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Boxes and probabilities of a batch."""
        boxes, logits = self.raw(images)
        return torch.cat([boxes, torch.sigmoid(logits)], dim=2)

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``float32[N, places, 4]`` boxes and ``float32[N, places, classes]`` logits."""
        fine = self.to_stride_8(self.to_stride_4(images))
        around = functional.interpolate(self.back(self.to_stride_16(fine)), scale_factor=2.0, mode="nearest")
        features = self.neck(fine + around)
        sides = functional.softplus(self.sides(features)) * (2 * STRIDE)
        across, down = _centres(features.shape[3], features), _centres(features.shape[2], features)
        left, top, right, bottom = sides.unbind(dim=1)
        x, y = across[None, None, :], down[None, :, None]
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=3).flatten(1, 2)
        return boxes, self.classes(features).flatten(2).transpose(1, 2)


def build(width: int = 16) -> nn.Module:
    """The untrained network; ``width`` is the number of channels of its first stage."""
    return SceneDetector(width, NUM_CLASSES)


class _Convolution(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _Convolution(channels, channels), _Convolution(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = features + self.second(self.first(features))
        return added


def _centres(count: int, like: torch.Tensor) -> torch.Tensor:
    """Pixel coordinates of the middles of ``count`` places."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) * STRIDE
