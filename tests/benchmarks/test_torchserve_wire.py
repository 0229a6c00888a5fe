"""TorchServe's requests and answers as the benchmarks write and read them."""

import pytest

from benchmarks.torchserve_wire import grpc_request, http_path, read_grpc, read_http
from benchmarks.wire import AnswerWrong
from serving.client.torchserve_proto import messages

GOOD = b'{"labels":["red","blue"],"scores":[0.75,0.25]}'


def test_requests_name_the_version_only_when_asked() -> None:
    assert (http_path("m", None), http_path("m", 3)) == ("/predictions/m", "/predictions/m/3")
    request = messages()[0].FromString(grpc_request("m", None, b"image"))
    assert (request.model_name, request.model_version, dict(request.input)) == ("m", "", {"body": b"image"})


def test_both_transports_give_the_same_reply() -> None:
    http = read_http(GOOD, {"x-slipway-version": "2"})
    answer = messages()[1](prediction=GOOD).SerializeToString()
    assert read_grpc(answer, {"x-slipway-version": "2"}) == http
    assert (http.version, http.labels, http.scores) == (2, [["red", "blue"]], [[0.75, 0.25]])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"labels": ["a"]}'])
def test_what_is_no_classification_is_wrong(content: bytes) -> None:
    with pytest.raises(AnswerWrong):
        read_http(content, {"x-slipway-version": "2"})
    with pytest.raises(AnswerWrong):
        read_http(GOOD, {})
