"""The two messages of TorchServe's gRPC inference API that clients need, described by hand (0.12, inference.proto)."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "org.pytorch.serve.grpc.inference"
PREDICTIONS = f"/{PACKAGE}.InferenceAPIsService/Predictions"
PING = f"/{PACKAGE}.InferenceAPIsService/Ping"
_STRING, _BYTES, _MESSAGE, _ONE, _MANY = 9, 12, 11, 1, 3


@cache
def messages() -> tuple[Any, Any]:
    """The classes PredictionsRequest and PredictionResponse."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    names = ("PredictionsRequest", "PredictionResponse")
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in names
    )
    return request, response


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package=PACKAGE, syntax="proto3")
    request = file.message_type.add(name="PredictionsRequest")
    request.field.add(name="model_name", number=1, type=_STRING, label=_ONE)
    request.field.add(name="model_version", number=2, type=_STRING, label=_ONE)
    entry = request.nested_type.add(name="InputEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, type=_STRING, label=_ONE)
    entry.field.add(name="value", number=2, type=_BYTES, label=_ONE)
    kind = f".{PACKAGE}.PredictionsRequest.InputEntry"
    request.field.add(name="input", number=3, type=_MESSAGE, type_name=kind, label=_MANY)
    response = file.message_type.add(name="PredictionResponse")
    response.field.add(name="prediction", number=1, type=_BYTES, label=_ONE)
    return file
