"""Urls name the engine's protocol and the transport."""

import pytest

from serving.client.address import of_edge, parse
from slipway.errors import RequestInvalid

EDGE = {"http": "127.0.0.1:8000", "grpc": "127.0.0.1:8001"}


@pytest.mark.parametrize(
    ("url", "scheme", "authority"),
    [
        ("host", "http", "host:8000"),
        ("host:9", "http", "host:9"),
        ("grpc://host", "grpc", "host:8001"),
        ("torchserve+http://[::1]:9", "torchserve+http", "[::1]:9"),
        ("torchserve+grpc://host", "torchserve+grpc", "host:8001"),
    ],
)
def test_what_an_address_says(url: str, scheme: str, authority: str) -> None:
    assert parse(url) == (scheme, authority)


@pytest.mark.parametrize(
    "url", ["torchserve://host:1", "torchserve+ftp://host:1", "triton+http://host:1", "http+grpc://h"]
)
def test_unknown_schemes(url: str) -> None:
    with pytest.raises(RequestInvalid, match="torchserve"):
        parse(url)


@pytest.mark.parametrize("engine", ["triton", "torchserve"])
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_running_edge_has_an_address_that_can_be_parsed(engine: str, transport: str) -> None:
    found = parse(of_edge(EDGE, engine, transport))
    assert found.authority == EDGE[transport]
    assert found.scheme == (transport if engine == "triton" else f"torchserve+{transport}")
