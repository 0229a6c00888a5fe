"""KServe V2 request bodies made once, and answers read with as little work as a check allows: the client shares the
machine with the server, and every millisecond that it takes is missing from the figure."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2

#: The method's path; a channel's ``unary_unary`` without serialisers sends ready-made bytes to it.
GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
#: HTTP header: bytes of the JSON part of a body, binary tensors follow it.
JSON_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Expected:
    """The best label and score of one image, from the same pipeline without a server."""

    label: str
    score: float


@dataclass(frozen=True)
class Reply:
    """What was answered: ``labels`` and ``scores`` of each image, best first; ``errors`` are empty for good ones."""

    version: int
    labels: list[list[str]]
    scores: list[list[float]]
    errors: list[str]


class AnswerWrong(Exception):
    """The server answered, but not what the same pipeline answers without it."""


def http_path(model: str, version: int | None) -> str:
    """Path of the V2 infer call; without a version the edge's pointer chooses."""
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"


def http_request(images: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """``(body, headers)`` of a request with the binary tensor extension, answers binary too."""
    tensor = _bytes_tensor(images)
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [len(images), 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    # Identity, because Triton would compress an answer for whoever lists gzip, as HTTP libraries do by themselves.
    headers = {"Content-Type": "application/octet-stream", "Accept-Encoding": "identity"}
    headers[JSON_LENGTH] = str(len(header))
    return header + tensor, headers


def grpc_request(model: str, version: int | None, images: Sequence[bytes]) -> bytes:
    """A serialised ModelInferRequest."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=str(version or ""))
    request.inputs.add(name="image", datatype="BYTES", shape=[len(images), 1])
    request.raw_input_contents.append(_bytes_tensor(images))
    serialised: bytes = request.SerializeToString()
    return serialised


def read_http(content: bytes, json_length: str | None) -> Reply:
    """``json_length``: the answer's header JSON_LENGTH. Raises AnswerWrong when this is no classification."""
    tensors: dict[str, tuple[list[int], bytes]] = {}
    try:
        offset = int(json_length or len(content))
        header = json.loads(content[:offset])
        for output in header["outputs"]:
            size = output["parameters"]["binary_data_size"]
            tensors[output["name"]] = (output["shape"], content[offset : offset + size])
            offset += size
        version = header["model_version"]
    except (KeyError, TypeError, ValueError) as problem:
        raise AnswerWrong(f"the answer cannot be read: {type(problem).__name__} {problem}") from problem
    return _reply(version, tensors)


def read_grpc(serialised: bytes) -> Reply:
    """Raises AnswerWrong when this is no classification."""
    response = service_pb2.ModelInferResponse.FromString(serialised)
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return _reply(response.model_version, {output.name: (list(output.shape), raw) for output, raw in pairs})


def http_failure(status: int, content: bytes | str | None) -> str:
    """Status and the answer's ``error`` (its text when it is none of ours), without the request's id: so that equal
    failures read equally."""
    text = content.decode(errors="replace") if isinstance(content, bytes) else str(content)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        text = json.loads(text)["error"]
    return f"{status} {text}"[:300]


def check(reply: Reply, versions: Collection[int], expected: Sequence[Expected], tolerance: float = 1e-3) -> None:
    """Raises AnswerWrong unless every image has the expected best score within ``tolerance`` and the expected label
    (another label passes where it is as good as the expected one, within the tolerance), from one of ``versions``."""
    if reply.version not in versions:
        raise AnswerWrong(f"version {reply.version} answered instead of {' or '.join(map(str, versions))}")
    if len(reply.labels) != len(expected):
        raise AnswerWrong(f"{len(reply.labels)} results for {len(expected)} images")
    for labels, scores, error, wanted in zip(reply.labels, reply.scores, reply.errors, expected, strict=True):
        if error:
            raise AnswerWrong(error)
        found = dict(zip(labels, scores, strict=True)).get(wanted.label, float("nan"))
        if not (abs(found - wanted.score) <= tolerance and scores[0] - found <= tolerance):
            raise AnswerWrong(f"{labels[0]!r} {scores[0]:.4f} instead of {wanted.label!r} {wanted.score:.4f}")


def _reply(version: str, tensors: Mapping[str, tuple[list[int], bytes]]) -> Reply:
    try:
        labels_shape, labels = tensors["labels"]
        scores = tensors["scores"][1]
        flat_labels, k = _strings(labels), labels_shape[-1]
        flat_scores = list(struct.unpack(f"<{len(scores) // 4}f", scores))
        rows = range(0, len(flat_labels), k)
        return Reply(
            version=int(version),
            labels=[flat_labels[row : row + k] for row in rows],
            scores=[flat_scores[row : row + k] for row in rows],
            errors=_strings(tensors["errors"][1]),
        )
    except (KeyError, IndexError, ValueError, struct.error) as problem:
        raise AnswerWrong(f"the answer cannot be read: {type(problem).__name__} {problem}") from problem


def _bytes_tensor(items: Sequence[bytes]) -> bytes:
    """V2's BYTES form: each item after its length, uint32 little-endian."""
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _strings(tensor: bytes) -> list[str]:
    found, offset = [], 0
    while offset < len(tensor):
        (length,) = struct.unpack_from("<I", tensor, offset)
        found.append(tensor[offset + 4 : offset + 4 + length].decode())
        offset += 4 + length
    return found


def expected_from(values: Sequence[Mapping[str, Any]]) -> list[Expected]:
    """From JSON-ready ``{"label", "score"}``."""
    return [Expected(str(value["label"]), float(value["score"])) for value in values]
