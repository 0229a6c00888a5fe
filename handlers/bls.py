"""The networks of a contract as other models of the same Triton, called through business logic scripting (BLS).

All calls of one list are sent at once and awaited together, so that several networks, or several batches of one, run
side by side on as many instances as there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from handlers.calls import Call, flipped, join, limits_of, split
from slipway.contract import Contract
from slipway.errors import NetworkFailed, ServerUnavailable, SlipwayError

Output = npt.NDArray[np.float32]


class ServerNetworks:
    """As handlers.calls.Networks, at one version of this server's models."""

    def __init__(self, contract: Contract, version: int) -> None:
        self._networks = contract.networks()
        self._limits, self._flipped = limits_of(contract), flipped(contract)
        self._version = version
        self._memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """As handlers.calls.Networks.run."""
        pieces = [split(call, self._limits[call.network], call.network in self._flipped) for call in calls]
        flat = [(call.network, pixels) for call, own in zip(calls, pieces, strict=True) for pixels in own]
        if len(flat) == 1:  # most requests: an event loop would only cost
            outputs = [self._output(flat[0][0], self._request(*flat[0]).exec())]
        else:
            outputs = asyncio.run(self._all(flat))
        replies = iter(outputs)
        return [join(call, [next(replies) for _ in own]) for call, own in zip(calls, pieces, strict=True)]

    async def _all(self, flat: Sequence[tuple[str, npt.NDArray[np.uint8]]]) -> list[Output]:
        replies = await asyncio.gather(*(self._request(*one).async_exec() for one in flat))
        return [self._output(name, reply) for (name, _), reply in zip(flat, replies, strict=True)]

    def _request(self, name: str, pixels: npt.NDArray[np.uint8]) -> Any:
        network = self._networks[name]
        return pb_utils.InferenceRequest(
            model_name=network.model,
            model_version=self._version,
            inputs=[pb_utils.Tensor(network.input, np.ascontiguousarray(pixels))],
            requested_output_names=[network.output],
            preferred_memory=self._memory,
        )

    def _output(self, name: str, response: Any) -> Output:
        network = self._networks[name]
        if response.has_error():
            raise self._failed(network.model, response.error().message())
        output: Output = pb_utils.get_output_tensor_by_name(response, network.output).as_numpy()
        return output

    def _failed(self, model: str, text: str) -> SlipwayError:
        """Triton reports a network that is not loaded with code INTERNAL, so its readiness is asked for."""
        if pb_utils.is_model_ready(model_name=model, model_version=str(self._version)):
            return NetworkFailed(f"the network {model} failed", observed=_one_line(text))
        return ServerUnavailable(
            f"the network {model} cannot be reached",
            observed=_one_line(text),
            expected=f"version {self._version} loaded and ready",
            fix="try again; if it stays, load the network's version",
        )


def _one_line(text: str) -> str:
    """A backend's message may carry a traceback after its first line."""
    return text.strip().splitlines()[0][:300] if text.strip() else "no message"
