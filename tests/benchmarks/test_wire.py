import json
import struct

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from benchmarks.wire import (
    JSON_LENGTH,
    AnswerWrong,
    Expected,
    check,
    grpc_request,
    http_failure,
    http_path,
    http_request,
    read_grpc,
    read_http,
)

GOOD = {"labels": [["cat", "dog"], ["dog", "cat"]], "scores": [[0.75, 0.25], [0.5, 0.5]], "errors": [[""], [""]]}


def strings(rows):
    return serialize_byte_tensor(np.array(rows, dtype=object)).item()


def tensors(answer):
    return {
        "labels": (strings(answer["labels"]), [len(answer["labels"]), 2], "BYTES"),
        "scores": (struct.pack("<4f", *np.ravel(answer["scores"])), [2, 2], "FP32"),
        "errors": (strings(answer["errors"]), [2, 1], "BYTES"),
    }


def as_grpc(answer, version="3"):
    response = service_pb2.ModelInferResponse(model_name="pets", model_version=version)
    for name, (raw, shape, datatype) in tensors(answer).items():
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
    return response.SerializeToString()


def as_http(answer, version="3"):
    outputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, (raw, shape, datatype) in tensors(answer).items()
    ]
    header = json.dumps({"model_name": "pets", "model_version": version, "outputs": outputs}).encode()
    return header + b"".join(raw for raw, _, _ in tensors(answer).values()), str(len(header))


def test_grpc_request_is_what_tritonclient_would_send():
    request = service_pb2.ModelInferRequest.FromString(grpc_request("pets", None, [b"one", b"\x00\xff"]))
    assert (request.model_name, request.model_version) == ("pets", "")
    assert (request.inputs[0].name, request.inputs[0].datatype) == ("image", "BYTES")
    assert list(request.inputs[0].shape) == [2, 1]
    assert list(deserialize_bytes_tensor(request.raw_input_contents[0])) == [b"one", b"\x00\xff"]
    assert service_pb2.ModelInferRequest.FromString(grpc_request("pets", 7, [b"x"])).model_version == "7"


def test_http_request_carries_images_after_its_json():
    body, headers = http_request([b"one", b"three"])
    length = int(headers[JSON_LENGTH])
    header = json.loads(body[:length])
    assert header["inputs"][0]["shape"] == [2, 1]
    assert header["inputs"][0]["parameters"]["binary_data_size"] == len(body) - length
    assert list(deserialize_bytes_tensor(body[length:])) == [b"one", b"three"]
    assert headers["Accept-Encoding"] == "identity"


def test_path_names_a_version_only_when_one_is_asked():
    assert http_path("pets", None) == "/v2/models/pets/infer"
    assert http_path("pets", 3) == "/v2/models/pets/versions/3/infer"


@pytest.mark.parametrize("read", [lambda: read_grpc(as_grpc(GOOD)), lambda: read_http(*as_http(GOOD))])
def test_answers_read_alike(read):
    reply = read()
    assert reply.version == 3
    assert reply.labels == GOOD["labels"]
    assert reply.scores == GOOD["scores"]
    assert reply.errors == ["", ""]
    check(reply, [3], [Expected("cat", 0.75), Expected("cat", 0.5)])  # the second is a tie: either may be named first


@pytest.mark.parametrize(
    ("change", "expected", "says"),
    [
        ({}, [Expected("dog", 0.75), Expected("cat", 0.5)], "'cat' 0.7500 instead of 'dog' 0.7500"),
        ({}, [Expected("cat", 0.7), Expected("cat", 0.5)], "instead of 'cat' 0.7000"),
        ({}, [Expected("bird", 0.75), Expected("cat", 0.5)], "instead of 'bird'"),
        ({}, [Expected("cat", 0.75)], "2 results for 1 images"),
        ({"errors": [["IMAGE_CORRUPT: broken"], [""]]}, [Expected("cat", 0.75), Expected("cat", 0.5)], "IMAGE_CORRUPT"),
        ({"scores": [[np.nan, np.nan], [0.5, 0.5]]}, [Expected("cat", 0.75), Expected("cat", 0.5)], "nan"),
    ],
)
def test_wrong_answers_are_failures(change, expected, says):
    with pytest.raises(AnswerWrong, match=says):
        check(read_grpc(as_grpc({**GOOD, **change})), [3], expected)


def test_another_version_is_a_failure():
    with pytest.raises(AnswerWrong, match="version 4 answered instead of 3"):
        check(read_grpc(as_grpc(GOOD, version="4")), [3], [Expected("cat", 0.75), Expected("cat", 0.5)])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b'{"outputs": [{"name": "labels"}]}'])
def test_unreadable_http_answers_are_failures(content):
    with pytest.raises(AnswerWrong, match="cannot be read"):
        read_http(content, None)


def test_an_answer_without_scores_is_a_failure():
    response = service_pb2.ModelInferResponse.FromString(as_grpc(GOOD))
    response.outputs[1].name = "other"
    with pytest.raises(AnswerWrong, match="scores"):
        read_grpc(response.SerializeToString())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"error": "NOT_READY: no", "request_id": "1"}', "503 NOT_READY: no"),
        (b"upstream \xff", "503 upstream \ufffd"),
        ("reset", "503 reset"),
        (b"[]", "503 []"),
    ],
)
def test_equal_failures_read_equally(content, text):
    assert http_failure(503, content) == text
