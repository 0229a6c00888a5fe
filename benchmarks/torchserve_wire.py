"""TorchServe request bodies made once, and its answers read; as ``benchmarks.wire`` for the V2 protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping

from benchmarks.wire import AnswerWrong, Reply
from serving.client.torchserve_proto import PREDICTIONS, messages

#: The gRPC method's path, for a channel's ``unary_unary`` without serialisers.
GRPC_METHOD = PREDICTIONS
#: Header and gRPC metadata in which the edge names the version that answered.
VERSION = "x-slipway-version"


def http_path(model: str, version: int | None) -> str:
    """Path of the prediction call; without a version the edge's pointer chooses."""
    return f"/predictions/{model}" + (f"/{version}" if version else "")


def http_request(image: bytes) -> tuple[bytes, dict[str, str]]:
    """``(body, headers)``: the encoded image as it is."""
    return image, {"Content-Type": "application/octet-stream"}


def grpc_request(model: str, version: int | None, image: bytes) -> bytes:
    """A serialised PredictionsRequest."""
    made: bytes = messages()[0](
        model_name=model, model_version=str(version or ""), input={"body": image}
    ).SerializeToString()
    return made


def read_http(content: bytes, headers: Mapping[str, str]) -> Reply:
    """Raises AnswerWrong when this is no classification."""
    return _reply(content, headers.get(VERSION, ""))


def read_grpc(serialised: bytes, metadata: Mapping[str, str]) -> Reply:
    """Raises AnswerWrong when this is no classification."""
    return _reply(bytes(messages()[1].FromString(serialised).prediction), metadata.get(VERSION, ""))


def _reply(content: bytes, version: str) -> Reply:
    try:
        record = json.loads(content)
        labels, scores = [str(label) for label in record["labels"]], [float(score) for score in record["scores"]]
        return Reply(int(version), [labels], [scores], [""])
    except (KeyError, TypeError, ValueError) as problem:
        raise AnswerWrong(f"the answer cannot be read: {type(problem).__name__} {problem}") from problem
