"""One Triton and one Envoy for all tests of the edge that do not stop them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.edge.edge_rig import Rig


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
