"""Networks called by name: batches, channel order, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from handlers.calls import ONLY, Call, InProcess, only
from slipway.contract import Contract, Network, Part
from slipway.errors import ContractInvalid, NetworkFailed

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)


@pytest.fixture
def parts(contract: Contract) -> Contract:
    network = Network("faces.pnet.onnx", "onnx", "model.onnx", max_batch_size=2)
    several = (Part("pnet", network), Part("rnet", replace(network, max_batch_size=8), colour="bgr"))
    return replace(contract, task="faces", handler="handlers.faces:Faces", parts=several, network=network)


def mean_of_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)


def test_large_batches_are_split_by_each_networks_limit(parts: Contract) -> None:
    sizes: dict[str, list[int]] = {"pnet": [], "rnet": []}

    def counting(name: str):
        def run(pixels: np.ndarray) -> np.ndarray:
            sizes[name].append(len(pixels))
            return mean_of_channels(pixels)

        return run

    networks = InProcess({name: counting(name) for name in sizes}, parts)
    first, second = networks.run([Call("pnet", PIXELS), Call("rnet", PIXELS)])
    assert sizes == {"pnet": [2, 2, 1], "rnet": [5]}
    assert np.array_equal(first, mean_of_channels(PIXELS))
    assert np.array_equal(second, first[:, ::-1]), "a part of colour bgr sees the channels reversed"


def test_another_number_of_rows_is_the_networks_failure(contract: Contract) -> None:
    with pytest.raises(NetworkFailed, match=ONLY):
        only(lambda pixels: mean_of_channels(pixels)[:-1], contract).run([Call(ONLY, PIXELS)])


def test_names_of_networks(parts: Contract) -> None:
    assert list(parts.networks()) == ["pnet", "rnet"] and parts.inputs() == {"pnet": (0, 0), "rnet": (0, 0)}
    with pytest.raises(ContractInvalid, match="parts"):
        replace(parts, task="classification")
    with pytest.raises(ContractInvalid, match="parts"):
        replace(parts, parts=(parts.parts[0], parts.parts[0]))
