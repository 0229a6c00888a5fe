"""PredictClient: images to a public model through the edge, for ``slipway predict`` and tests.

Nothing here is needed to use a served model: any KServe V2 client works with Triton, any HTTP client with TorchServe.
It is the short way for people.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from serving.client.address import parse
from serving.client.torchserve import TorchServeGrpc, TorchServeHttp
from serving.client.transport import Ask, Reply, Transport
from serving.client.v2 import V2Grpc, V2Http
from slipway.errors import ImageError, ModelNotFound, SlipwayError

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Encoded bytes of one request's images at most, unless one alone is larger: base64 and the edge's limit fit.
_MOST_BYTES = 16 << 20
_TRANSPORTS: dict[str, Callable[[str, float], Transport]] = {
    "http": V2Http,
    "grpc": V2Grpc,
    "torchserve+http": TorchServeHttp,
    "torchserve+grpc": TorchServeGrpc,
}


@dataclass(frozen=True)
class Prediction:
    """One image's answer: ``values`` of its task's fields by name, JSON-ready; or the error of this image alone."""

    values: Mapping[str, Any] = field(default_factory=dict)
    error: SlipwayError | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels, best first; empty for a task without."""
        return tuple(self.values.get("labels", ()))

    @property
    def scores(self) -> tuple[float, ...]:
        """Scores of the labels; empty for a task without."""
        return tuple(self.values.get("scores", ()))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dict(self.values) if self.error is None else {"error": self.error.to_dict()}


@dataclass(frozen=True)
class Answer:
    """A Prediction per image in order, the version that answered, and the request's id."""

    predictions: list[Prediction]
    version: str
    request_id: str


class PredictClient:
    """``url``: ``host:port`` or ``http://host:port``, ``grpc://host:port``; ``torchserve+http://`` and
    ``torchserve+grpc://`` for TorchServe. ``timeout``: seconds."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        scheme, self.address = parse(url)
        self._transport = _TRANSPORTS[scheme](self.address, timeout)

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
        """Encoded images (JPEG, PNG, WebP, BMP, GIF) to a model; one Prediction each, in order.

        Without ``version`` the edge chooses. Raises the SlipwayError that the server named (all images failed, no
        such model, too large, unavailable), ServerNotRunning when nothing answers.
        """
        return self.ask(model, images, version, {} if top_k is None else {"top_k": top_k}).predictions

    def ask(
        self,
        model: str,
        images: Sequence[bytes],
        version: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """As :meth:`predict`, with the version that answered and the request's id, which every log repeats.

        ``parameters``: of the task, for example ``{"score_threshold": 0.4}``. More images than the server takes in
        one request go in several, under the same id.
        """
        if not _MODEL.fullmatch(model):
            # it would become a part of a path, and another request than was meant
            raise ModelNotFound(
                f"there is no model named {model!r}", expected="letters, digits, _, - and ., a letter or digit first"
            )
        request_id, named = request_id or uuid.uuid4().hex, "" if version is None else str(version)
        whole = Ask(model, list(images), named, request_id, dict(parameters or {}))
        parts = list(self._parts(whole))
        replies = [self._transport.ask(whole)] if len(parts) < 2 else [self._part(part) for part in parts]
        rows = [row for reply in replies for row in reply.rows]
        predictions = [Prediction(error=row) if isinstance(row, SlipwayError) else Prediction(row) for row in rows]
        return Answer(predictions, next((reply.version for reply in replies if reply.version), ""), request_id)

    def _parts(self, whole: Ask) -> Iterator[Ask]:
        most = self._transport.most_images(whole.model, whole.version) if len(whole.images) > 1 else 1
        images: list[bytes] = []
        for image in whole.images:
            if images and (len(images) == most or sum(map(len, images)) + len(image) > _MOST_BYTES):
                yield Ask(whole.model, images, whole.version, whole.request_id, whole.parameters)
                images = []
            images.append(image)
        yield Ask(whole.model, images, whole.version, whole.request_id, whole.parameters)

    def _part(self, part: Ask) -> Reply:
        """A part whose images all failed is an error of its own on the wire, and must not cost the other parts."""
        try:
            return self._transport.ask(part)
        except ImageError as problem:
            if len(part.images) == 1:
                return Reply([problem], "")
        single = [
            self._part(Ask(part.model, [image], part.version, part.request_id, part.parameters))
            for image in part.images
        ]
        return Reply([row for reply in single for row in reply.rows], "")
