"""Requests of one image to any task over either engine's protocols, made once, and their answers as records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tritonclient.grpc as v2_grpc
import tritonclient.http as v2_http
from tritonclient.grpc import service_pb2

from benchmarks.wire import GRPC_METHOD, JSON_LENGTH, AnswerWrong, grpc_request, http_path, http_request
from serving.client.tensors import error_texts, records
from serving.client.torchserve_proto import PREDICTIONS, messages

#: Protocols by what a plan calls them: V2 of Triton, and TorchServe's own.
PROTOCOLS = ("task-http", "task-grpc", "torchserve-http", "torchserve-grpc")
METHODS = {"task-grpc": GRPC_METHOD, "torchserve-grpc": PREDICTIONS}


def http_form(protocol: str, model: str, image: bytes) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers."""
    if protocol == "torchserve-http":
        return f"/predictions/{model}", image, {"Content-Type": "application/octet-stream"}
    return http_path(model, None), *http_request([image])


def grpc_form(protocol: str, model: str, image: bytes) -> bytes:
    """A serialised request."""
    if protocol == "torchserve-grpc":
        made: bytes = messages()[0](model_name=model, input={"body": image}).SerializeToString()
        return made
    return grpc_request(model, None, [image])


def read_http_answer(protocol: str, content: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """The record of the image. Raises AnswerWrong for its error, and for what cannot be read."""
    if protocol == "torchserve-http":
        return _from_json(content)
    try:
        length = int(headers.get(JSON_LENGTH) or len(content))
        return _from_tensors(v2_http.InferResult.from_response_body(content, header_length=length))
    except (KeyError, TypeError, ValueError) as problem:
        raise AnswerWrong(f"the answer cannot be read: {type(problem).__name__} {problem}") from problem


def read_grpc_answer(protocol: str, serialised: bytes) -> Mapping[str, Any]:
    """As read_http_answer."""
    if protocol == "torchserve-grpc":
        return _from_json(bytes(messages()[1].FromString(serialised).prediction))
    return _from_tensors(v2_grpc.InferResult(service_pb2.ModelInferResponse.FromString(serialised)))


def _from_json(content: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(content)
    except ValueError as problem:
        raise AnswerWrong(f"the answer cannot be read: {problem}") from problem
    if not isinstance(values, dict) or "error" in values:
        raise AnswerWrong(f"no record: {str(values)[:200]}")
    return values


def _from_tensors(result: Any) -> Mapping[str, Any]:
    response = result.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [item["name"] if isinstance(item, dict) else item.name for item in outputs]
    tensors = {name: result.as_numpy(name) for name in names}
    (error,) = error_texts(tensors, 1)
    if error:
        raise AnswerWrong(error)
    return records({name: tensor for name, tensor in tensors.items() if name != "errors"})[0]
