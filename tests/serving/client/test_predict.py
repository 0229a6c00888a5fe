"""Errors of a server become SlipwayErrors by their code."""

import pytest

from serving.client import PredictClient, error_from
from serving.ports import free_ports
from slipway.errors import ImageTruncated, ModelNotFound, RequestInvalid, ServerNotRunning, SlipwayError


def test_the_code_in_the_text_chooses_the_class() -> None:
    error = error_from("[StatusCode.INVALID_ARGUMENT] IMAGE_TRUNCATED: the image ends early; observed 12 bytes")
    assert isinstance(error, ImageTruncated)
    assert str(error) == "IMAGE_TRUNCATED: the image ends early; observed 12 bytes"


def test_text_without_a_code_is_kept() -> None:
    error = error_from("something odd")
    assert type(error) is SlipwayError and error.message == "something odd"


@pytest.mark.parametrize(
    "text",
    [
        "failed to connect to all addresses",
        "Connection refused",
        "Deadline Exceeded",
        "DNS resolution failed for no.such.host:80: C-ares status is not ARES_SUCCESS",
        "errors resolving no.such.host:80",
        "[Errno -2] Name or service not known",
    ],
)
def test_silence_is_not_running(text: str) -> None:
    assert isinstance(error_from(text, "127.0.0.1:8000"), ServerNotRunning)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host:1", "http://", "grpc://:80", "http://127.0.0.1:99999", "127.0.0.1:abc", "http://host:0"),
        *("http://[::1", "http://a..b", "http://two words", f"grpc://{'a' * 64}:1"),
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(RequestInvalid):
        PredictClient(url)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nothing_answers(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"
    with PredictClient(url, timeout=3) as client, pytest.raises(ServerNotRunning):
        client.predict("digits", [b"image"])


@pytest.mark.parametrize("model", ["", "a/b", "../digits", "digits/versions/1", "di gits", "dígits", "digits?", "."])
def test_odd_model_names_are_never_sent(model: str) -> None:
    # nothing listens there: a request that is sent would be ServerNotRunning
    with PredictClient("http://127.0.0.1:1", timeout=3) as client, pytest.raises(ModelNotFound):
        client.predict(model, [b"image"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_host_without_an_address(scheme: str) -> None:
    with PredictClient(f"{scheme}://no-such-host.invalid:80", timeout=5) as client, pytest.raises(ServerNotRunning):
        client.predict("digits", [b"image"])
