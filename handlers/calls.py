"""Calls of networks by name: what a task asks for, apart from where the networks run.

In process the calls of one list run one after the other (a worker has one thread); in Triton they are sent at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slipway.contract import ATTRIBUTES, ONLY, Contract
from slipway.errors import NetworkFailed

__all__ = ["ATTRIBUTES", "ONLY", "Call", "InProcess", "Networks", "RunNetwork", "join", "only", "split"]

Pixels = npt.NDArray[np.uint8]
Output = npt.NDArray[np.float32]
#: ``uint8[N, H, W, 3]`` -> the network's raw output, ``float32[N, ...]``. Raises NetworkFailed.
RunNetwork = Callable[[Pixels], Output]


@dataclass(frozen=True, eq=False)
class Call:
    """``network``: a name of :meth:`slipway.contract.Contract.networks`. ``pixels``: uint8[N, H, W, 3], N from 1 up;
    RGB for a part of several (its ``colour`` is seen to), in the contract's channel order otherwise."""

    network: str
    pixels: Pixels


class Networks(Protocol):
    """The networks behind one contract."""

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """float32[N, ...] for every call, in order. Raises NetworkFailed that names the network, and
        ServerUnavailable where another server's network cannot be reached."""


class InProcess:
    """Networks that were opened in this process, or whatever else runs at once when it is called."""

    def __init__(self, runs: Mapping[str, RunNetwork], contract: Contract) -> None:
        self._runs = runs
        self._limits = limits_of(contract)
        self._flipped = flipped(contract)

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """As :meth:`Networks.run`."""
        return [self._one(call) for call in calls]

    def _one(self, call: Call) -> Output:
        run = self._runs[call.network]
        try:
            pieces = [run(piece) for piece in split(call, self._limits[call.network], call.network in self._flipped)]
        except NetworkFailed as error:
            if call.network == ONLY:
                raise
            raise _named(call.network, error) from error
        return join(call, pieces)


def only(run: RunNetwork, contract: Contract) -> InProcess:
    """The one network of a contract that has one."""
    return InProcess({ONLY: run}, contract)


def limits_of(contract: Contract) -> dict[str, int]:
    """The largest batch of every network, by its name."""
    return {name: network.max_batch_size for name, network in contract.networks().items()}


def flipped(contract: Contract) -> frozenset[str]:
    """Parts whose networks take BGR."""
    return frozenset(part.name for part in contract.parts if part.colour == "bgr")


def _named(network: str, error: NetworkFailed) -> NetworkFailed:
    """Says which of several networks it was: their files have all one name."""
    message = f"{network}: {error.message}"
    return NetworkFailed(message, observed=error.observed, expected=error.expected, fix=error.fix)


def split(call: Call, limit: int, flip: bool) -> list[Pixels]:
    """The pixels in batches of at most ``limit``, in the network's channel order."""
    pixels = np.ascontiguousarray(call.pixels[..., ::-1]) if flip else call.pixels
    return [pixels[start : start + limit] for start in range(0, len(pixels), limit)]


def join(call: Call, pieces: Sequence[Output]) -> Output:
    """The outputs of all batches as one. Raises NetworkFailed for another number of rows than there were images."""
    output = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if len(output) != len(call.pixels):
        raise NetworkFailed(
            f"the batch of network {call.network} differs", observed=len(output), expected=len(call.pixels)
        )
    return output
