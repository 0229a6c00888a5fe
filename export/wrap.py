"""The trained module with its normalisation baked in: ``uint8[N, H, W, 3]`` in, ``float32[N, classes]`` logits out.

What is wrapped here is what every format exports and what every gate compares against, so the network that serves
takes raw pixels: the wire carries a quarter of the bytes, and no client can normalise wrongly.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handlers.pipeline import RunNetwork
from slipway.contract import Normalise


class NormalisedNetwork(nn.Module):
    """``module((pixels / scale - mean) / std)`` as one multiply-add: ``pixels * factor + offset``.

    ``factor = 1 / (scale * std)`` and ``offset = -mean / std`` are buffers of shape ``float32[1, 3, 1, 1]``, computed
    in float64, so the result is within 1e-6 of the formula evaluated in float64 for the usual scales.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, module: nn.Module, normalise: Normalise) -> None:
        super().__init__()
        mean = torch.tensor(normalise.mean, dtype=torch.float64)
        std = torch.tensor(normalise.std, dtype=torch.float64)
        self.module = module
        self.register_buffer("factor", (1.0 / (normalise.scale * std)).float().reshape(1, 3, 1, 1))
        self.register_buffer("offset", (-mean / std).float().reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """``pixels``: uint8[N, H, W, 3], in the contract's channel order. Returns float32[N, classes]."""
        # The copy to float32 also makes NCHW contiguous. Left as a permuted view, the channels-last strides travel
        # into torch.export, whose decomposed global pooling then becomes a dozen gather nodes instead of one mean.
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        logits: Tensor = self.module(self.normalise(images))
        return logits.to(torch.float32)

    def normalise(self, images: Tensor) -> Tensor:
        """float32[N, 3, H, W] in 0..255 -> what the module was trained on."""
        return images * self.factor + self.offset


def wrap(module: nn.Module, normalise: Normalise) -> NormalisedNetwork:
    """The wrapped module in eval mode, on the CPU, without gradients."""
    return NormalisedNetwork(module, normalise).cpu().eval().requires_grad_(False)


def eager_network(module: nn.Module) -> RunNetwork:
    """Runs a wrapped module on arrays: the reference of every gate."""

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = module(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
        return logits

    return run
