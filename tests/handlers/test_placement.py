"""Where the network runs, and what may not serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.calls import ONLY
from handlers.placement import PLACEMENT_VARIABLE, fused_networks, placement, refuse_numpy_2
from slipway.contract import Contract
from slipway.errors import EnvironmentUnfit, SettingsInvalid

SEPARATE = {"parameters": {"network_placement": {"string_value": "separate"}}}


def test_environment_over_parameter_over_default() -> None:
    assert placement({}, {}) == placement({"parameters": {}}, {PLACEMENT_VARIABLE: ""}) == "fused"
    assert placement(SEPARATE, {}) == "separate"
    assert placement(SEPARATE, {PLACEMENT_VARIABLE: "fused"}) == "fused"
    with pytest.raises(SettingsInvalid, match=PLACEMENT_VARIABLE):
        placement(SEPARATE, {PLACEMENT_VARIABLE: "elsewhere"})


def test_the_network_lies_beside_at_the_same_version(contract: Contract) -> None:
    assert fused_networks(Path("/repo/tiny/3"), contract) == {ONLY: Path("/repo/tiny.onnx/3/model.onnx")}


def test_numpy_2_is_refused() -> None:
    refuse_numpy_2("1.26.4")
    for version in ("2.0.0rc1", "2.4.6", "3.0"):
        with pytest.raises(EnvironmentUnfit, match="numpy<2"):
            refuse_numpy_2(version)
