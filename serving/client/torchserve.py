"""TorchServe's inference API through the edge, over HTTP and gRPC."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import select
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import grpc

from serving.client.problems import error_from, error_of
from serving.client.torchserve_proto import PREDICTIONS, messages
from serving.client.transport import Ask, Reply
from slipway.errors import NetworkFailed, SlipwayError

#: The handler takes four times its largest batch in one request, which is at least this.
_MOST_IMAGES = 4
_VERSION = "x-slipway-version"
_REQUEST_ID = "x-request-id"
#: Messages of any size; a server that comes back is found at once, whoever else waits for it.
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class TorchServeHttp:
    """``timeout``: seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._connection = http.client.HTTPConnection(address, timeout=timeout)

    def ask(self, request: Ask) -> Reply:
        """As Transport.ask."""
        path = f"/predictions/{quote(request.model)}" + (f"/{request.version}" if request.version else "")
        body, media, query = _http_form(request)
        headers = {"Content-Type": media, _REQUEST_ID: request.request_id, **request.headers}
        status, fields, answer = self._send(path + query, body, headers)
        if status != 200:
            raise _refused(answer, self._address)
        return Reply(_rows(answer, len(request.images)), fields.get(_VERSION, ""))

    def most_images(self, model: str, version: str) -> int:
        """As Transport.most_images."""
        return _MOST_IMAGES

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if self._connection.sock is not None and select.select([self._connection.sock], [], [], 0)[0]:
            self._connection.close()  # the server has closed it meanwhile: nothing else makes it readable
        try:
            return self._once(path, body, headers)
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise error_from(f"connection failed: {problem}", self._address) from problem

    def _once(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        self._connection.request("POST", path, body, dict(headers))
        answer = self._connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class TorchServeGrpc:
    """``timeout``: seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        request, response = messages()
        self._call = self._channel.unary_unary(PREDICTIONS, request.SerializeToString, response.FromString)

    def ask(self, request: Ask) -> Reply:
        """As Transport.ask. An error that came as OK, which TorchServe makes of every handler's error, is raised too,
        where no edge in between has turned it into a status."""
        message = messages()[0](model_name=request.model, model_version=request.version, input=_grpc_form(request))
        try:
            answer, call = self._call.with_call(
                message, timeout=self._timeout, metadata=[(_REQUEST_ID, request.request_id), *request.headers.items()]
            )
        except grpc.RpcError as problem:
            raise error_from(f"[{problem.code()}] {problem.details()}", self._address) from problem
        version = next((str(value) for name, value in call.initial_metadata() if name == _VERSION), "")
        return Reply(_rows(bytes(answer.prediction), len(request.images)), version)

    def most_images(self, model: str, version: str) -> int:
        """As Transport.most_images."""
        return _MOST_IMAGES

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


def _http_form(request: Ask) -> tuple[bytes, str, str]:
    """Body, media type and query: one image as it is, several as JSON."""
    if len(request.images) == 1:
        query = urlencode({name: _text(value) for name, value in request.parameters.items()})
        return request.images[0], "application/octet-stream", f"?{query}" if query else ""
    return _json_form(request), "application/json", ""


def _grpc_form(request: Ask) -> dict[str, bytes]:
    if len(request.images) != 1:
        return {"body": _json_form(request)}
    return {"body": request.images[0], **{name: _text(item).encode() for name, item in request.parameters.items()}}


def _json_form(request: Ask) -> bytes:
    images = [base64.b64encode(image).decode("ascii") for image in request.images]
    return json.dumps({"images": images, "parameters": dict(request.parameters)}).encode()


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _rows(answer: bytes, images: int) -> list[Mapping[str, Any] | SlipwayError]:
    try:
        values = json.loads(answer)
    except ValueError as problem:
        raise NetworkFailed("the answer is not JSON", observed=repr(answer[:100])) from problem
    if isinstance(values, dict) and "error" in values:
        raise error_of(values)
    rows = values if isinstance(values, list) else [values]
    if len(rows) != images:
        raise NetworkFailed("the answer is about another number of images", observed=len(rows), expected=images)
    return [error_of(row) if "error" in row else row for row in rows]


def _refused(answer: bytes, address: str) -> SlipwayError:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return error_of(json.loads(answer))
    return error_from(answer[:300].decode("utf-8", "replace"), address)
