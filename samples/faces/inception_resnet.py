"""InceptionResnetV1 (Szegedy et al., arXiv 1602.07261) as facenet-pytorch has it: faces to 512 numbers.

Its names are those of the published checkpoints, so that ``20180402-114759-vggface2.pt`` of facenet-pytorch's releases
loads as it is: ``source: {factory: "samples.faces.inception_resnet:build", checkpoint: <path or URL>}``, inputs of
160x160 normalised as (x - 127.5) / 128, ``faces.crops: box`` and a margin of 0.125. No weights of it are made here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Identities that the VGGFace2 checkpoint was trained with; the CASIA-WebFace one has 10575.
VGGFACE2_CLASSES = 8631


class InceptionResnetV1(nn.Module):
    """float32[N, 3, H, W], H and W from 75, 160 as trained, to float32[N, 512]; of any length."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv2d_1a = _Convolution(3, 32, 3, stride=2)
        self.conv2d_2a = _Convolution(32, 32, 3)
        self.conv2d_2b = _Convolution(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = _Convolution(64, 80, 1)
        self.conv2d_4a = _Convolution(80, 192, 3)
        self.conv2d_4b = _Convolution(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = _Mixed(_chain(256, (384, 3)), _chain(256, (192, 1), (192, 3, 1), (256, 3)))
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = _Mixed(
            _chain(896, (256, 1), (384, 3)),
            _chain(896, (256, 1), (256, 3)),
            _chain(896, (256, 1), (256, 3, 1), (256, 3)),
        )
        self.repeat_3 = nn.Sequential(*(_block8(0.20) for _ in range(5)))
        self.block8 = _block8(1.0, last=True)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)
        self.logits = nn.Linear(512, classes)  # in the checkpoints, of no use for embeddings

    def forward(self, faces: Tensor) -> Tensor:
        """Vectors of a batch, before they are brought to length one."""
        features = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(faces)))
        features = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(features))))
        features = self.mixed_6a(self.repeat_1(features))
        features = self.mixed_7a(self.repeat_2(features))
        features = self.avgpool_1a(self.block8(self.repeat_3(features))).flatten(1)
        vectors: Tensor = self.last_bn(self.last_linear(features))
        return vectors


def build(classes: int = VGGFACE2_CLASSES) -> nn.Module:
    """The untrained network; ``classes``: of the checkpoint's own training."""
    return InceptionResnetV1(classes)


class _Convolution(nn.Module):
    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=0.001)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(features)))


class _Branches(nn.Module):
    """Modules ``branch0``, ``branch1``, ... side by side; their channels one after the other."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self._count = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def side_by_side(self, features: Tensor) -> Tensor:
        return torch.cat([getattr(self, f"branch{number}")(features) for number in range(self._count)], dim=1)


class _Block(_Branches):
    """A residual block: ``scale`` times what the branches see is added."""

    def __init__(self, branches: Sequence[nn.Module], merged: int, channels: int, scale: float, last: bool) -> None:
        super().__init__(branches)
        self.conv2d = nn.Conv2d(merged, channels, 1)
        self._scale, self._last = scale, last

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.conv2d(self.side_by_side(features)) * self._scale + features
        return added if self._last else torch.relu(added)


class _Mixed(_Branches):
    """A block that halves the sides; its last branch is pooling."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__([*branches, nn.MaxPool2d(3, stride=2)])

    def forward(self, features: Tensor) -> Tensor:
        return self.side_by_side(features)


def _chain(channels: int, *layers: tuple[int, ...]) -> nn.Module:
    """Convolutions (channels, kernel, padding): the last one halves the sides; a single one is no sequence."""
    built = []
    for number, (width, kernel, *padding) in enumerate(layers, start=1):
        stride = 2 if number == len(layers) else 1
        built.append(_Convolution(channels, width, kernel, stride, *padding))
        channels = width
    return built[0] if len(built) == 1 else nn.Sequential(*built)


def _block35() -> nn.Module:
    def small(channels_in: int) -> nn.Module:
        return _Convolution(channels_in, 32, 3, padding=1)

    def narrow() -> nn.Module:
        return _Convolution(256, 32, 1)

    branches = [narrow(), nn.Sequential(narrow(), small(32)), nn.Sequential(narrow(), small(32), small(32))]
    return _Block(branches, 96, 256, 0.17, last=False)


def _block17() -> nn.Module:
    long = nn.Sequential(
        _Convolution(896, 128, 1),
        _Convolution(128, 128, (1, 7), padding=(0, 3)),
        _Convolution(128, 128, (7, 1), padding=(3, 0)),
    )
    return _Block([_Convolution(896, 128, 1), long], 256, 896, 0.10, last=False)


def _block8(scale: float, last: bool = False) -> nn.Module:
    long = nn.Sequential(
        _Convolution(1792, 192, 1),
        _Convolution(192, 192, (1, 3), padding=(0, 1)),
        _Convolution(192, 192, (3, 1), padding=(1, 0)),
    )
    return _Block([_Convolution(1792, 192, 1), long], 384, 1792, scale, last)
