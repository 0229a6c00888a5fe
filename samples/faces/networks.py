"""MTCNN's proposal, refinement and output networks (Zhang et al., arXiv 1604.02878), as facenet-pytorch has them.

Their state_dicts are those of the files inside the facenet-pytorch 2.6.0 wheel (MIT), which the specification names as
checkpoints. Each network returns ONE tensor, so that it is exported like any other: first the probability of a face,
then four corrections of the box as fractions of its sides (x1, y1, x2, y2), then, from the last network, five
landmarks as fractions of the box (five x, five y).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Network(nn.Module):
    """Layers by the names of the checkpoints."""

    def _pooled(self, images: Tensor, stages: int) -> Tensor:
        """``stages`` times convolution, PReLU, and pooling where there is one."""
        for stage in range(1, stages + 1):
            images = getattr(self, f"prelu{stage}")(getattr(self, f"conv{stage}")(images))
            pool = getattr(self, f"pool{stage}", None)
            images = images if pool is None else pool(images)
        return images


class ProposalNetwork(_Network):
    """P-Net: float32[N, 3, H, W], H and W from 12, to float32[N, 5, h, w]; one place per two pixels, each of 12x12."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Probability and corrections of every place."""
        features = self._pooled(images, 3)
        return torch.cat([torch.softmax(self.conv4_1(features), dim=1)[:, 1:], self.conv4_2(features)], dim=1)


class RefineNetwork(_Network):
    """R-Net: float32[N, 3, 24, 24] to float32[N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Probability and corrections."""
        features = self.prelu4(self.dense4(_flat(self._pooled(images, 3))))
        return torch.cat([torch.softmax(self.dense5_1(features), dim=1)[:, 1:], self.dense5_2(features)], dim=1)


class OutputNetwork(_Network):
    """O-Net: float32[N, 3, 48, 48] to float32[N, 15]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Probability, corrections and landmarks."""
        features = self.prelu5(self.dense5(_flat(self._pooled(images, 4))))
        probability = torch.softmax(self.dense6_1(features), dim=1)[:, 1:]
        return torch.cat([probability, self.dense6_2(features), self.dense6_3(features)], dim=1)


def pnet() -> nn.Module:
    """The untrained proposal network."""
    return ProposalNetwork()


def rnet() -> nn.Module:
    """The untrained refinement network."""
    return RefineNetwork()


def onet() -> nn.Module:
    """The untrained output network."""
    return OutputNetwork()


def _flat(features: Tensor) -> Tensor:
    """float32[N, C, H, W] to float32[N, W * H * C]: the order of the Caffe networks that the weights come from."""
    return features.permute(0, 3, 2, 1).flatten(1)
