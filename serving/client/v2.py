"""The KServe V2 protocol, as Triton speaks it, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tritonclient.utils import InferenceServerException

from serving.client.problems import error_from
from serving.client.tensors import column, error_texts, records
from serving.client.transport import Ask, Reply
from slipway.errors import SlipwayError


class _V2:
    """What both transports share; ``api``: tritonclient's module, ``client``: its client."""

    def __init__(self, api: Any, client: Any, address: str, options: Mapping[str, Any]) -> None:
        self._api, self._client, self._address, self._options = api, client, address, options
        self._most: dict[tuple[str, str], int] = {}

    def ask(self, request: Ask) -> Reply:
        """As Transport.ask."""
        tensor = self._api.InferInput("image", [len(request.images), 1], "BYTES")
        tensor.set_data_from_numpy(column(list(request.images)))
        answer = self._call(
            "infer",
            request.model,
            [tensor],
            model_version=request.version,
            request_id=request.request_id,
            headers={"x-request-id": request.request_id, **request.headers},
            parameters={name: _sent(value) for name, value in request.parameters.items()} or None,
            **self._options,
        )
        tensors = {name: answer.as_numpy(name) for name in self._outputs(answer)}
        errors = error_texts(tensors, len(request.images))
        found = records({name: tensor for name, tensor in tensors.items() if name != "errors"})
        rows: list[Mapping[str, Any] | SlipwayError] = [
            error_from(error) if error else record for record, error in zip(found, errors, strict=True)
        ]
        return Reply(rows, self._version(answer))

    def most_images(self, model: str, version: str) -> int:
        """The model's ``max_batch_size``; asked once."""
        key = (model, version)
        if key not in self._most:
            self._most[key] = max(1, self._largest(self._call("get_model_config", model, version)))
        return self._most[key]

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, **options)
        except InferenceServerException as problem:
            raise error_from(str(problem.message() or problem), self._address) from problem
        except (OSError, EOFError) as problem:
            raise error_from(f"connection failed: {problem}", self._address) from problem

    def _outputs(self, answer: Any) -> list[str]:
        raise NotImplementedError

    def _version(self, answer: Any) -> str:
        raise NotImplementedError

    def _largest(self, config: Any) -> int:
        raise NotImplementedError


class V2Http(_V2):
    """``timeout``: seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        import tritonclient.http as api

        client = api.InferenceServerClient(address, connection_timeout=timeout, network_timeout=timeout)
        super().__init__(api, client, address, {})

    def _outputs(self, answer: Any) -> list[str]:
        return [output["name"] for output in answer.get_response()["outputs"]]

    def _version(self, answer: Any) -> str:
        return str(answer.get_response()["model_version"])

    def _largest(self, config: Any) -> int:
        return int(config.get("max_batch_size", 0))


class V2Grpc(_V2):
    """``timeout``: seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        import tritonclient.grpc as api

        super().__init__(api, api.InferenceServerClient(address), address, {"client_timeout": timeout})

    def _outputs(self, answer: Any) -> list[str]:
        return [output.name for output in answer.get_response().outputs]

    def _version(self, answer: Any) -> str:
        return str(answer.get_response().model_version)

    def _largest(self, config: Any) -> int:
        return int(config.config.max_batch_size)


def _sent(value: Any) -> Any:
    """V2 parameters are integers, booleans and texts; handlers read numbers and lists from text as well."""
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return value if isinstance(value, (bool, int)) else str(value)
