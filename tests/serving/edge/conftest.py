"""One engine and one Envoy of each kind for all tests of the edge that do not stop them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.edge.edge_rig import Rig
from tests.serving.edge.torchserve_rig import TorchServeRig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig.make(tmp_path_factory.mktemp("edge"))
    try:
        made.start_triton()
        made.start_envoy()
        yield made
    finally:
        made.stop()


@pytest.fixture
def own_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """For tests that kill or drain what they talk to."""
    made = Rig.make(tmp_path_factory.mktemp("edge"))
    try:
        made.start_triton()
        made.start_envoy()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRig]:
    """One TorchServe and one Envoy for all tests that do not stop them."""
    made = TorchServeRig.make(tmp_path_factory.mktemp("torchserve"))
    try:
        made.start_engine()
        made.start_envoy()
        yield made
    finally:
        made.stop()


@pytest.fixture
def own_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRig]:
    """For tests that kill what they talk to."""
    made = TorchServeRig.make(tmp_path_factory.mktemp("torchserve"))
    try:
        made.start_engine()
        made.start_envoy()
        yield made
    finally:
        made.stop()
