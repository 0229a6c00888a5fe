"""The supervisor's own line to Triton: gRPC with the key of the restricted APIs. Not for clients of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from handlers.fields import Field, unpack
from serving.triton.launcher import ADMIN_HEADER
from slipway.errors import InstanceDead, NetworkFailed, ServerUnavailable, SlipwayError, VersionLoadFailed

#: What Triton 2.51 says of a model whose python process died; health endpoints stay 200 meanwhile.
_DEAD_STUB = "is not healthy"


@dataclass(frozen=True)
class IndexEntry:
    """One row of Triton's repository index: ``state`` READY, LOADING, UNLOADING, UNAVAILABLE or empty."""

    name: str
    version: int | None
    state: str
    reason: str


class ControlClient:
    """Loads, unloads and asks models. Times in seconds. One per Triton process: a new process needs a new one."""

    def __init__(self, address: str, admin_key: str) -> None:
        self._headers = {f"triton-grpc-protocol-{ADMIN_HEADER}": admin_key}
        # Without a pool of its own, a channel to a restarted server inherits the old one's back-off.
        arguments = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        self._client = triton.InferenceServerClient(address, channel_args=arguments)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._client.close()

    def live(self, timeout: float = 1.0) -> bool:
        """Whether the server answers at all."""
        try:
            return bool(self._client.is_server_live(client_timeout=timeout))
        except InferenceServerException:
            return False

    def ready(self, model: str, version: int, timeout: float = 1.0) -> bool:
        """What Triton believes of a version; a dead stub still counts as ready here."""
        try:
            return bool(self._client.is_model_ready(model, str(version), client_timeout=timeout))
        except InferenceServerException:
            return False

    def load(self, model: str, config: str, timeout: float) -> None:
        """Loads a model with a config override (JSON). What served before serves until the new instances are ready,
        and goes on when they never are. Raises VersionLoadFailed with Triton's reason, ServerUnavailable."""
        try:
            self._client.load_model(model, headers=self._headers, config=config, client_timeout=timeout)
        except InferenceServerException as problem:
            if _status(problem) == "UNAVAILABLE" and not self.live():
                raise _unavailable(problem) from problem
            raise VersionLoadFailed(f"{model}: Triton refused to load it", observed=_text(problem)) from problem

    def unload(self, model: str, timeout: float = 30.0) -> None:
        """Unloads every version of a model; raises ServerUnavailable."""
        try:
            self._client.unload_model(model, headers=self._headers, client_timeout=timeout)
        except InferenceServerException as problem:
            raise _unavailable(problem) from problem

    def index(self, timeout: float = 5.0) -> list[IndexEntry]:
        """The repository index; raises ServerUnavailable."""
        try:
            reply = self._client.get_model_repository_index(headers=self._headers, client_timeout=timeout)
        except InferenceServerException as problem:
            raise _unavailable(problem) from problem
        return [
            IndexEntry(row.name, int(row.version) if row.version else None, row.state, row.reason)
            for row in reply.models
        ]

    def ask(
        self,
        model: str,
        version: int,
        image: bytes,
        fields: Sequence[Field],
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One encoded image through a public model: its record, JSON-ready. ``fields``: those of the model's task.

        Raises InstanceDead, NetworkFailed, ServerUnavailable."""
        return self.answer(model, version, image, fields, timeout, parameters)[0]

    def answer(
        self,
        model: str,
        version: int,
        image: bytes,
        fields: Sequence[Field],
        timeout: float,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], str]:
        """As :meth:`ask`, with the version that says it has answered. ``headers``: of the request."""
        tensor = triton.InferInput("image", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image]], dtype=object))
        reply = self._infer(model, version, [tensor], timeout, dict(parameters or {}) or None, headers)
        names = [field.name for field in fields]
        tensors = {name: found for name in names if (found := reply.as_numpy(name)) is not None}
        return unpack(fields, tensors)[0], str(reply.get_response().model_version)

    def run_network(
        self, model: str, version: int, pixels: npt.NDArray[np.uint8], timeout: float, names: tuple[str, str]
    ) -> npt.NDArray[np.float32]:
        """``pixels: uint8[N, H, W, 3]`` through a network; ``names`` of its input and output. Raises as ask."""
        tensor = triton.InferInput(names[0], list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels)
        reply = self._infer(model, version, [tensor], timeout, None)
        return np.asarray(reply.as_numpy(names[1]), dtype=np.float32)

    def _infer(
        self,
        model: str,
        version: int,
        inputs: list[Any],
        timeout: float,
        parameters: Any,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            return self._client.infer(
                model,
                inputs,
                model_version=str(version),
                client_timeout=timeout,
                parameters=parameters,
                headers=dict(headers or {}) or None,
            )
        except InferenceServerException as problem:
            raise _failed(model, version, problem) from problem


def _failed(model: str, version: int, problem: InferenceServerException) -> SlipwayError:
    text = _text(problem)
    if _DEAD_STUB in text:
        return InstanceDead(f"{model} version {version}: a process of the model is dead", observed=text)
    if _status(problem) in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return ServerUnavailable(f"{model} version {version} did not answer", observed=text)
    return NetworkFailed(f"{model} version {version} failed", observed=text)


def _unavailable(problem: InferenceServerException) -> ServerUnavailable:
    return ServerUnavailable("Triton did not answer", observed=_text(problem))


def _status(problem: InferenceServerException) -> str:
    return str(problem.status() or "").removeprefix("StatusCode.")


def _text(problem: InferenceServerException) -> str:
    """Triton's words without the stack of the stub's Python that it appends ("At: <file>(<line>) ...")."""
    return str(problem.message() or problem).split("\n\nAt:")[0].strip().rstrip(";").strip()
