"""PredictClient: images to a public model through the edge, over HTTP or gRPC, for ``slipway predict`` and tests.

Nothing here is needed to use a served model: any KServe V2 client works. It is the short way for people.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from tritonclient.utils import InferenceServerException

from slipway.errors import ModelNotFound, RequestInvalid, ServerNotRunning, SlipwayError, all_errors

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HOST = re.compile(r"[\w.:%-]+")
#: In the texts of the HTTP and gRPC clients: nothing listens, the connection ended, the name has no address.
_SILENCE = (
    *("connect", "refused", "unreachable", "reset", "goaway", "deadline", "timed out"),
    *("resolv", "resolution", "lookup", "name or service"),
)
_CODE = re.compile(r"\b([A-Z][A-Z_]{2,}): ?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Prediction:
    """One image's answer: labels best first with their scores, or the error of this image and no labels."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    error: SlipwayError | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        values: dict[str, Any] = {"labels": list(self.labels), "scores": list(self.scores)}
        return values | ({"error": self.error.to_dict()} if self.error is not None else {})


@dataclass(frozen=True)
class Answer:
    """One request's answer: a Prediction per image in order, the version that answered, and the request's id."""

    predictions: list[Prediction]
    version: str
    request_id: str


class _Transport(Protocol):
    def infer(
        self, model: str, images: Sequence[bytes], version: str, request_id: str, options: dict[str, Any]
    ) -> Any: ...

    def version(self, reply: Any) -> str: ...

    def close(self) -> None: ...


class PredictClient:
    """``url``: ``host:port`` or ``http://host:port`` for HTTP, ``grpc://host:port`` for gRPC. ``timeout``: seconds."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        scheme, self.address = _parse(url)
        self._transport: _Transport = (_Http if scheme == "http" else _Grpc)(self.address, timeout)

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def predict(
        self, model: str, images: Sequence[bytes], version: int | None = None, top_k: int | None = None
    ) -> list[Prediction]:
        """One request with encoded images (JPEG, PNG, WebP, BMP, GIF); one Prediction each, in order.

        Without ``version`` the edge chooses. Raises the SlipwayError that the server named (all images failed, no
        such model, too large, unavailable), ServerNotRunning when nothing answers.
        """
        return self.ask(model, images, version, top_k).predictions

    def ask(
        self,
        model: str,
        images: Sequence[bytes],
        version: int | None = None,
        top_k: int | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """As :meth:`predict`, with the version that answered and the request's id, which every log repeats."""
        if not _MODEL.fullmatch(model):
            # it would become a part of a path, and another request than was meant
            raise ModelNotFound(
                f"there is no model named {model!r}", expected="letters, digits, _, - and ., a letter or digit first"
            )
        options = {} if top_k is None else {"top_k": top_k}
        request_id = request_id or uuid.uuid4().hex
        try:
            reply = self._transport.infer(model, images, "" if version is None else str(version), request_id, options)
        except InferenceServerException as problem:
            raise error_from(str(problem.message() or problem), self.address) from problem
        except (OSError, EOFError) as problem:
            raise error_from(f"connection failed: {problem}", self.address) from problem
        return Answer(_predictions(reply), self._transport.version(reply), request_id)


def _parse(url: str) -> tuple[str, str]:
    """``(scheme, host:port)``; raises RequestInvalid for what is no address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
        # what the resolver would do: refuses empty labels and those above 63 characters
        known = parts.scheme in ("http", "grpc") and _HOST.fullmatch(host) and host.encode("idna") and port != 0
    except ValueError:
        known = False
    if not known:
        raise RequestInvalid(
            "not an address of a server", observed=url, expected="http://host:port or grpc://host:port"
        )
    host = f"[{host}]" if ":" in host else host
    return parts.scheme, f"{host}:{port or (8000 if parts.scheme == 'http' else 8001)}"


class _Http:
    def __init__(self, address: str, timeout: float) -> None:
        import tritonclient.http as http

        self._api: Any = http
        self._client = http.InferenceServerClient(address, connection_timeout=timeout, network_timeout=timeout)

    def infer(self, model: str, images: Sequence[bytes], version: str, request_id: str, options: dict[str, Any]) -> Any:
        tensor = self._api.InferInput("image", [len(images), 1], "BYTES")
        tensor.set_data_from_numpy(_column(images), binary_data=True)
        return self._client.infer(
            model,
            [tensor],
            model_version=version,
            request_id=request_id,
            headers={"x-request-id": request_id},
            parameters=options or None,
        )

    def version(self, reply: Any) -> str:
        return str(reply.get_response()["model_version"])

    def close(self) -> None:
        self._client.close()


class _Grpc:
    def __init__(self, address: str, timeout: float) -> None:
        import tritonclient.grpc as grpc

        self._api: Any = grpc
        self._timeout = timeout
        self._client = grpc.InferenceServerClient(address)

    def infer(self, model: str, images: Sequence[bytes], version: str, request_id: str, options: dict[str, Any]) -> Any:
        tensor = self._api.InferInput("image", [len(images), 1], "BYTES")
        tensor.set_data_from_numpy(_column(images))
        return self._client.infer(
            model,
            [tensor],
            model_version=version,
            request_id=request_id,
            headers={"x-request-id": request_id},
            parameters=options or None,
            client_timeout=self._timeout,
        )

    def version(self, reply: Any) -> str:
        return str(reply.get_response().model_version)

    def close(self) -> None:
        self._client.close()


def _column(images: Sequence[bytes]) -> Any:
    column = np.empty((len(images), 1), dtype=object)
    column[:, 0] = list(images)
    return column


def _predictions(reply: Any) -> list[Prediction]:
    labels, scores, errors = (reply.as_numpy(name) for name in ("labels", "scores", "errors"))
    found = []
    for names, values, error in zip(labels, scores, errors, strict=True):
        text = _text(error[0])
        if text:
            found.append(Prediction((), (), error_from(text)))
        else:
            kept = [
                (_text(name), float(value)) for name, value in zip(names, values, strict=True) if not math.isnan(value)
            ]
            found.append(Prediction(tuple(name for name, _ in kept), tuple(value for _, value in kept)))
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def error_from(text: str, address: str = "the server") -> SlipwayError:
    """The error that a server's text names by its code (``CODE: text``); ServerNotRunning for a failed connection."""
    kinds = {kind.code: kind for kind in all_errors()}
    match = _CODE.search(text)
    if match is not None and match[1] in kinds:
        return kinds[match[1]](match[2].strip())
    lowered = text.lower()
    if any(word in lowered for word in _SILENCE):
        return ServerNotRunning(
            f"{address} does not answer", observed=text.splitlines()[0][:200], fix="`slipway serve`"
        )
    return SlipwayError(text.strip() or "the server gave no reason")
