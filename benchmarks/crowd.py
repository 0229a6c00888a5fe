"""Closed-loop clients as threads, half over gRPC and half over HTTP, that remember every request they sent.

For what happens to requests when servers die; for throughput see the Locust users.
"""

from __future__ import annotations

import http.client
import select
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from benchmarks import torchserve_wire
from benchmarks.wire import (
    GRPC_METHOD,
    JSON_LENGTH,
    AnswerWrong,
    Expected,
    Reply,
    check,
    grpc_request,
    http_failure,
    http_path,
    http_request,
    read_grpc,
    read_http,
)

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds between a failure and the next request, so that a dead port is not hammered.
_PAUSE = 0.02
_REQUEST_ID = "x-request-id"
_NO_CONNECTION = ("failed to connect", "Connection refused")


@dataclass(frozen=True)
class Sent:
    """One request. ``sent``, ``ended``: time.monotonic seconds; ``error``: empty when it was answered rightly;
    ``accepted``: False when no connection could be made, so that no server ever had it; ``id``: its x-request-id."""

    protocol: str
    sent: float
    ended: float
    error: str = ""
    accepted: bool = True
    id: str = ""

    @property
    def good(self) -> bool:
        """Answered, and rightly."""
        return not self.error


AnySent = TypeVar("AnySent", bound=Sent)


@dataclass(frozen=True)
class Target:
    """What the crowd asks: one image whose answer is known. Addresses are host:port; ``timeout``: seconds; ``engine``:
    whose protocol is spoken."""

    http: str
    grpc: str
    model: str
    version: int
    image: bytes
    expected: Expected
    timeout: float = 30.0
    engine: str = "triton"


class _NotAccepted(Exception):
    """No connection could be made."""


class _Failed(Exception):
    """The request was sent and got no right answer."""


#: Sends one request under an id and reads its answer.
Ask = Callable[[str], Reply]


class Clients(ABC, Generic[AnySent]):
    """Threads that ask, half over gRPC and half over HTTP, started and stopped as a context manager. ``patience``:
    seconds that the end waits for each of them."""

    def __init__(self, clients: int, patience: float) -> None:
        self._patience = patience
        self._stop = threading.Event()
        self._requests: list[AnySent] = []
        self._waiting: dict[int, float] = {}
        names = ["grpc", "http"]
        self._threads = [
            threading.Thread(target=self._run, args=(index, names[index % 2]), daemon=True) for index in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._patience)

    def requests(self) -> list[AnySent]:
        """Those that have ended, in the order of their ends."""
        return list(self._requests)

    def waiting(self) -> list[float]:
        """When each request was sent that has not ended yet."""
        return list(self._waiting.values())

    @abstractmethod
    def _run(self, index: int, protocol: str) -> None:
        """One client, until ``_stop`` is set."""


class Crowd(Clients[Sent]):
    """Clients that ask one image without a pause."""

    def __init__(self, target: Target, clients: int) -> None:
        super().__init__(clients, target.timeout + 5)
        self._target = target

    def _run(self, index: int, protocol: str) -> None:
        ask, close = (_grpc_client if protocol == "grpc" else _http_client)(self._target)
        while not self._stop.is_set():
            begun = self._waiting[index] = time.monotonic()
            name = str(uuid.uuid4())
            error, accepted = self._outcome(ask, name)
            self._requests.append(Sent(protocol, begun, time.monotonic(), error, accepted, name))
            del self._waiting[index]
            if error:
                self._stop.wait(_PAUSE)
        close()

    def _outcome(self, ask: Ask, name: str) -> tuple[str, bool]:
        try:
            check(ask(name), [self._target.version], [self._target.expected])
        except _NotAccepted as problem:
            return str(problem), False
        except (_Failed, AnswerWrong) as problem:
            return str(problem), True
        return "", True


def _grpc_client(target: Target) -> tuple[Ask, Callable[[], None]]:
    # A dead server must be tried again at once: gRPC's own back-off would be what is measured.
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 100),
    ]
    channel = grpc.insecure_channel(target.grpc, options=options)
    method, request, read = _grpc_form(target)
    call = channel.unary_unary(method)

    def ask(name: str) -> Reply:
        try:
            answer, made = call.with_call(request, timeout=target.timeout, metadata=[(_REQUEST_ID, name)])
            return read(answer, dict(made.initial_metadata()))
        except grpc.RpcError as problem:
            text = f"{problem.code().name} {problem.details()}"[:300]
            refused = any(words in text for words in _NO_CONNECTION) and problem.code() is grpc.StatusCode.UNAVAILABLE
            raise (_NotAccepted if refused else _Failed)(text) from problem

    return ask, channel.close


def _grpc_form(target: Target) -> tuple[str, bytes, Callable[[bytes, Mapping[str, str]], Reply]]:
    """Method, message, and the reader of answers with their metadata."""
    if target.engine == "torchserve":
        request = torchserve_wire.grpc_request(target.model, None, target.image)
        return torchserve_wire.GRPC_METHOD, request, torchserve_wire.read_grpc
    request = grpc_request(target.model, None, [target.image])
    return GRPC_METHOD, request, lambda answer, _: read_grpc(answer)


def _http_form(target: Target) -> tuple[str, bytes, dict[str, str], Callable[[bytes, Mapping[str, str]], Reply]]:
    """Path, body, headers, and the reader of answers with theirs."""
    if target.engine == "torchserve":
        path, form = torchserve_wire.http_path(target.model, None), torchserve_wire.http_request(target.image)
        return path, *form, torchserve_wire.read_http
    body, headers = http_request([target.image])
    return (
        http_path(target.model, None),
        body,
        headers,
        lambda content, fields: read_http(content, fields.get(JSON_LENGTH.lower())),
    )


def _http_client(target: Target) -> tuple[Ask, Callable[[], None]]:
    connection = http.client.HTTPConnection(target.http, timeout=target.timeout)
    path, body, headers, read = _http_form(target)

    def ask(name: str) -> Reply:
        _connect(connection)
        try:
            connection.request("POST", path, body, {**headers, _REQUEST_ID: name})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            raise _Failed(f"{type(problem).__name__} {problem}"[:300]) from problem
        if response.status != 200:
            raise _Failed(http_failure(response.status, content))
        return read(content, {name.lower(): value for name, value in response.getheaders()})

    return ask, connection.close


def _connect(connection: http.client.HTTPConnection) -> None:
    """A connection to send on: a kept one that the server has closed meanwhile is replaced, as every pool does."""
    if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
        connection.close()
    if connection.sock is None:
        try:
            connection.connect()
        except OSError as problem:
            connection.close()
            raise _NotAccepted(f"{type(problem).__name__} {problem}") from problem
