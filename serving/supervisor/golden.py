"""Golden predictions through Triton: the public model, and its networks by themselves.

A version is ready when it answers right, not when a health endpoint says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handlers.preprocess import preprocess
from handlers.task import load_task
from serving.golden import read_golden, refuse_other
from serving.triton.client import ControlClient
from slipway.contract import ONLY, Contract, Network
from slipway.errors import VersionLoadFailed
from slipway.repository import Repository

#: Where a network takes any size, it is asked with pixels of this one.
_ANY_SIZE = 64


def check_public(client: ControlClient, repository: Repository, model: str, version: int, timeout: float) -> None:
    """Asks the public model. Raises VersionLoadFailed for another answer, and what ControlClient.ask raises."""
    golden, fields = read_golden(repository, model, version), load_task(repository.contract(model, version)).fields
    found = client.ask(model, version, golden.image, fields, timeout, golden.parameters)
    refuse_other(f"{model} version {version}", golden.record, found)


def check_network(
    client: ControlClient, repository: Repository, model: str, network: str, version: int, timeout: float
) -> None:
    """Asks a network of the public ``model`` by itself. The best class of a classification must be the golden label;
    other networks' outputs must be finite, one row per image. Raises VersionLoadFailed, and as ControlClient.ask."""
    contract = repository.contract(model, version)
    if contract.task == "classification" and not contract.attributes:
        _check_classes(client, repository, contract, network, version, timeout)
    else:
        _check_finite(client, contract, network, version, timeout)


def _check_classes(
    client: ControlClient, repository: Repository, contract: Contract, network: str, version: int, timeout: float
) -> None:
    """Softmax, sigmoid and temperature keep the order of the logits, so the best class is the best label."""
    golden = read_golden(repository, contract.model, version)
    pixels = preprocess(golden.image, contract.preprocess)[np.newaxis]
    logits = _run(client, contract.network, network, version, pixels, timeout)[0]
    best = int(np.argmax(logits)) if np.isfinite(logits).all() and logits.size else -1
    label = contract.labels[best] if 0 <= best < len(contract.labels) else f"class {best}"
    if label != golden.record["labels"][0]:
        raise VersionLoadFailed(
            f"{network} version {version} answers the golden image of {contract.model} wrongly",
            observed=label,
            expected=golden.record["labels"][0],
        )


def _check_finite(client: ControlClient, contract: Contract, network: str, version: int, timeout: float) -> None:
    """Noise of the network's size: what it answers means nothing, that it answers does."""
    name = _name_of(contract, network)
    height, width = (side or _ANY_SIZE for side in contract.inputs()[name])
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    output = _run(client, contract.networks()[name], network, version, pixels, timeout)
    if output.ndim < 2 or len(output) != 1 or not np.isfinite(output).all():
        raise VersionLoadFailed(
            f"{network} version {version} does not answer as a network of {contract.model}",
            observed=f"float32{list(output.shape)}, {np.count_nonzero(~np.isfinite(output))} values not finite",
            expected="float32[1, ...], all finite",
        )


def _name_of(contract: Contract, network: str) -> str:
    """The contract's name of a network of the repository; one published beside it takes what the own one does."""
    found = next((name for name, item in contract.networks().items() if item.model == network), None)
    if found is not None:
        return found
    beside = network.removeprefix(f"{contract.model}.").split(".")[0]
    return beside if beside in contract.networks() else next(iter(contract.networks()), ONLY)


def _run(
    client: ControlClient, known: Network, network: str, version: int, pixels: npt.NDArray[np.uint8], timeout: float
) -> npt.NDArray[np.float32]:
    return client.run_network(network, version, pixels, timeout, (known.input, known.output))
