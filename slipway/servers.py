"""Other servers of a fleet, by the addresses of their edges: ``HOST:HTTP_PORT:GRPC_PORT``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

_FORM = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5}):(\d{1,5})")
_EXPECTED = "HOST:HTTP_PORT:GRPC_PORT, for example 10.0.0.7:8000:8001 or [fd00::7]:8000:8001"


class ServerAddress(NamedTuple):
    """The edge of one server; ``host``: a name or an IP address, without brackets."""

    host: str
    http_port: int
    grpc_port: int

    @property
    def name(self) -> str:
        """What it is called in the status: ``HOST:HTTP_PORT``."""
        return self.at("http")

    @property
    def is_name(self) -> bool:
        """Whether the host must be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    def port(self, transport: str) -> int:
        """``transport``: http or grpc."""
        return self.grpc_port if transport == "grpc" else self.http_port

    def at(self, transport: str) -> str:
        """``HOST:PORT`` of a transport."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port(transport)}"


def parse_server(text: str) -> ServerAddress:
    """Raises ValueError that says what is expected."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a server; expected {_EXPECTED}")
    server = ServerAddress(found[1].strip("[]"), int(found[2]), int(found[3]))
    if not all(1 <= port <= 65535 for port in server[1:]):
        raise ValueError(f"{text!r} has a port that is none; expected {_EXPECTED}")
    if server.http_port == server.grpc_port:
        raise ValueError(f"{text!r} names one port twice; expected {_EXPECTED}")
    if ":" in server.host and server.is_name:
        raise ValueError(f"{text!r} has an IPv6 address that is none; expected {_EXPECTED}")
    return server


def parse_servers(texts: Iterable[str]) -> tuple[ServerAddress, ...]:
    """Raises ValueError, also for a server that is listed twice: it would get twice the traffic."""
    found = tuple(parse_server(text) for text in texts)
    ports = [server.at(transport) for server in found for transport in ("http", "grpc")]
    for at in ports:
        if ports.count(at) > 1:
            raise ValueError(f"{at} is listed twice")
    return found
