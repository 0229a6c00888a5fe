"""How another server's edge is asked for one version, in the protocol of its engine.

Both of its ports count: the golden image goes over gRPC, the cheap question over HTTP. Every request says that it is
passed on, so that the edge answers for its own engine and not for a third server's.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from handlers.task import load_task
from serving.client.problems import error_from
from serving.client.torchserve import TorchServeGrpc
from serving.client.transport import Ask
from serving.golden import Golden
from serving.triton.client import ControlClient
from slipway.contract import Contract
from slipway.errors import SlipwayError, VersionNotFound
from slipway.servers import ServerAddress

_PASSED_ON = {"slipway-forwarded": "1"}
#: Seconds; a server that is slower than that is not worth a request.
_CHEAP_TIMEOUT = 2.0
_PROOF_TIMEOUT = 5.0


class Asker(Protocol):
    """One per server; used by one thread. ``prove_every``: seconds after which a proof is old."""

    prove_every: float

    def live(self) -> None:
        """Whether the edge and its engine answer at all. Raises SlipwayError."""

    def cheap(self, model: str, version: int) -> None:
        """Whether the server says that it has the version. Raises SlipwayError with what was answered instead."""

    def golden(self, contract: Contract, version: int, golden: Golden) -> tuple[Mapping[str, Any], str]:
        """The record of the golden image, and the version that says it answered. Raises SlipwayError."""

    def close(self) -> None:
        """Ends the connections."""


def open_asker(engine: str, server: ServerAddress) -> Asker:
    """``engine``: as ``SLIPWAY_ENGINE`` spells it."""
    return _ASKERS[engine](server)


class TritonAsker:
    """The V2 protocol."""

    prove_every = 10.0

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._client = ControlClient(server.at("grpc"), admin_key="")

    def live(self) -> None:
        """See Asker."""
        _get(self._server, "/v2/health/live")

    def cheap(self, model: str, version: int) -> None:
        """See Asker."""
        _get(self._server, f"/v2/models/{model}/versions/{version}/ready")

    def golden(self, contract: Contract, version: int, golden: Golden) -> tuple[Mapping[str, Any], str]:
        """See Asker."""
        fields = load_task(contract).fields
        return self._client.answer(
            contract.model, version, golden.image, fields, _PROOF_TIMEOUT, golden.parameters, _PASSED_ON
        )

    def close(self) -> None:
        """See Asker."""
        self._client.close()


class TorchServeAsker:
    """TorchServe's inference protocol, which says of one version only what its answers say."""

    prove_every = 3.0

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._client = TorchServeGrpc(server.at("grpc"), _PROOF_TIMEOUT)

    def live(self) -> None:
        """See Asker."""
        _get(self._server, "/v2/health/live")

    def cheap(self, model: str, version: int) -> None:
        """See Asker. There is no such question in the protocol."""

    def golden(self, contract: Contract, version: int, golden: Golden) -> tuple[Mapping[str, Any], str]:
        """See Asker."""
        request = Ask(contract.model, [golden.image], str(version), "", dict(golden.parameters), _PASSED_ON)
        reply = self._client.ask(request)
        row = reply.rows[0]
        if isinstance(row, SlipwayError):
            raise row
        return row, reply.version

    def close(self) -> None:
        """See Asker."""
        self._client.close()


_ASKERS: dict[str, Callable[[ServerAddress], Asker]] = {"triton": TritonAsker, "torchserve": TorchServeAsker}


def _get(server: ServerAddress, path: str) -> None:
    """A GET that is answered by 200. Raises the SlipwayError that the answer names, ServerNotRunning for none."""
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=_CHEAP_TIMEOUT)
    try:
        connection.request("GET", path, headers=_PASSED_ON)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, http.client.HTTPException) as problem:
        raise error_from(f"connection failed: {problem}", server.at("http")) from problem
    finally:
        connection.close()
    if 400 <= status < 500:
        raise VersionNotFound("the server says that it is not ready", observed=_text(body) or f"status {status}")
    if status != 200:
        raise error_from(_text(body) or f"status {status}", server.at("http"))


def _text(body: bytes) -> str:
    """What an edge says was wrong; the beginning of anything else."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:300].decode("utf-8", "replace")
