"""Addresses of servers: which engine's protocol, which transport, which host and port."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from slipway.errors import RequestInvalid

_HOST = re.compile(r"[\w.:%-]+")
SCHEMES = ("http", "grpc", "torchserve+http", "torchserve+grpc")
_EXPECTED = "http://host:port or grpc://host:port, with torchserve+ in front for TorchServe"


class Address(NamedTuple):
    """``scheme``: one of SCHEMES; ``authority``: host:port."""

    scheme: str
    authority: str


def parse(url: str) -> Address:
    """``host:port`` alone is HTTP of Triton's. Raises RequestInvalid for what is no address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
        # what the resolver would do: refuses empty labels and those above 63 characters
        known = parts.scheme in SCHEMES and _HOST.fullmatch(host) and host.encode("idna") and port != 0
    except ValueError:
        known = False
    if not known:
        raise RequestInvalid("not an address of a server", observed=url, expected=_EXPECTED)
    host = f"[{host}]" if ":" in host else host
    return Address(parts.scheme, f"{host}:{port or (8000 if parts.scheme.endswith('http') else 8001)}")


def of_edge(edge: dict[str, str], engine: str, transport: str) -> str:
    """The url of a running edge (the state file's ``edge`` and engine name); ``transport``: http or grpc."""
    return f"{'' if engine == 'triton' else f'{engine}+'}{transport}://{edge[transport]}"
