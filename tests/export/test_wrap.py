"""The baked normalisation equals the formula of the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from export.wrap import eager_network, wrap
from slipway.contract import Normalise
from tests.export import small_model


@pytest.mark.parametrize(
    "normalise",
    [
        Normalise(),
        Normalise(255.0, small_model.MEAN, small_model.STD),
        Normalise(1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        Normalise(127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ],
)
def test_every_pixel_value_is_normalised_as_the_formula_says(normalise: Normalise) -> None:
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    module = wrap(nn.Identity(), normalise)
    expected = (pixels.astype(np.float64) / normalise.scale - normalise.mean) / np.array(normalise.std)
    found = eager_network(module)(pixels).transpose(0, 2, 3, 1)
    assert found.dtype == np.float32
    assert np.max(np.abs(found - expected)) <= 1e-6


def test_the_wrapped_network_answers_as_the_trained_one(trained: nn.Module) -> None:
    pixels, _ = small_model.patches(5, 2)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(small_model.MEAN).view(1, 3, 1, 1), torch.tensor(small_model.STD).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = trained((images - mean) / std).numpy()
    found = eager_network(wrap(trained, Normalise(255.0, small_model.MEAN, small_model.STD)))(pixels)
    assert np.max(np.abs(found - expected)) <= 1e-6 * np.max(np.abs(expected)) * 10


def test_wrapping_turns_train_mode_off() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.LazyLinear(3))
    module(torch.zeros(1, 3, 4, 4))
    run = eager_network(wrap(module.train(), Normalise()))
    pixels = np.full((2, 4, 4, 3), 200, np.uint8)
    assert np.array_equal(run(pixels), run(pixels))
