"""Where a public model's network runs, and whether this process may serve at all: decided before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.contract import Contract
from slipway.errors import EnvironmentUnfit, SettingsInvalid

#: Overrides the parameter of config.pbtxt for every model of the server.
PLACEMENT_VARIABLE = "SLIPWAY_NETWORK_PLACEMENT"
PLACEMENTS = ("fused", "separate")


def placement(config: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """``fused`` or ``separate``: the environment's word, else parameter ``network_placement`` of the model's
    configuration (config.pbtxt as JSON), else ``fused``. Raises SettingsInvalid."""
    parameter = config.get("parameters", {}).get("network_placement", {})
    chosen = environment.get(PLACEMENT_VARIABLE) or parameter.get("string_value", "fused")
    if chosen not in PLACEMENTS:
        raise SettingsInvalid(
            "the network's placement is not valid",
            observed=chosen,
            expected=" or ".join(PLACEMENTS),
            fix=f"correct {PLACEMENT_VARIABLE} or parameter network_placement in config.pbtxt",
        )
    return str(chosen)


def fused_networks(version_dir: Path, contract: Contract) -> dict[str, Path]:
    """The networks' artefacts by the contract's names, as the repository lays them out:
    ``../../<network>/<version>/<file>``."""
    root, version = version_dir.parent.parent, version_dir.name
    return {name: root / network.model / version / network.file for name, network in contract.networks().items()}


def refuse_numpy_2(version: str) -> None:
    """Raises EnvironmentUnfit for numpy 2 or later.

    The python backend's stub (Triton 2.51, an old pybind11) reads numpy-2 arrays wrongly and says nothing: an input of
    [0.5, 1, 2] arrives as [0.5, 0.5, 0.5]. To be dropped when a stub passes that round trip under numpy 2.
    """
    if int(version.split(".")[0]) >= 2:
        raise EnvironmentUnfit(
            "this Triton's python backend silently corrupts tensors under numpy 2",
            observed=f"numpy {version}",
            expected="numpy 1.26",
            fix="install 'numpy<2' in the environment that Triton runs in",
        )
