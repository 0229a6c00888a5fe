"""The supervisor's own line to TorchServe: its management API and predictions, over HTTP on loopback.

Not for clients of models. Standard library only; one connection per call, for java drops idle ones without a word.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from slipway.errors import (
    InstanceDead,
    ModelNotFound,
    NetworkFailed,
    ServerUnavailable,
    SlipwayError,
    VersionLoadFailed,
    VersionNotFound,
)

_DEAD_WORKER = "Worker died"


@dataclass(frozen=True)
class WorkerInfo:
    """One process of a version. ``status``: READY, LOADING or UNLOADING; ``pid`` 0 while there is no process."""

    model: str
    version: int
    pid: int
    status: str


@dataclass(frozen=True)
class VersionInfo:
    """One registered version. ``pending``, ``remaining``: requests that wait, and that may still come to wait."""

    model: str
    version: int
    workers: tuple[WorkerInfo, ...]
    pending: int
    remaining: int

    @property
    def ready(self) -> bool:
        """Whether a worker of it can answer."""
        return any(worker.status == "READY" for worker in self.workers)


class ManagementClient:
    """Registers, unregisters, describes and asks versions. Times in seconds. Safe to use from several threads."""

    def __init__(self, management: tuple[str, int], inference: tuple[str, int]) -> None:
        self._management, self._inference = management, inference

    def close(self) -> None:
        """Nothing is held open."""

    def live(self, timeout: float = 1.0) -> bool:
        """Whether both ports answer."""
        try:
            self._ask("GET", "/models", timeout)
            return self._request(self._inference, "GET", "/ping", timeout)[0] == 200
        except SlipwayError:
            return False

    def models(self, timeout: float = 5.0) -> list[str]:
        """Names of everything registered. Raises ServerUnavailable."""
        found: list[str] = []
        following: str | None = "0"
        while following is not None:
            page = self._ask("GET", f"/models?limit=100&next_page_token={following}", timeout)
            found += [row["modelName"] for row in page.get("models", [])]
            following = page.get("nextPageToken")
        return found

    def describe(self, model: str, timeout: float = 5.0) -> list[VersionInfo]:
        """Every registered version of a model; empty when there is none. Raises ServerUnavailable."""
        try:
            rows = self._ask("GET", f"/models/{quote(model)}/all", timeout)
        except ModelNotFound:
            return []
        return [_version(row) for row in rows]

    def idle(self, found: VersionInfo, timeout: float = 0.3) -> bool:
        """Whether no request of a version waits or is being computed: whether every worker answers within ``timeout``.

        TorchServe (0.12) tells what waits, not what is in work. A "describe" takes the way of requests: it is handed to
        one worker, after all that waits, and to none that is at work. Workers take turns, so few questions meet all."""
        left = {worker.pid for worker in found.workers if worker.status == "READY"}
        if found.pending:
            return False
        path = f"/models/{quote(found.model)}/{found.version}?customized=true"
        try:
            for _ in range(2 * len(left)):
                left.discard(self._ask("GET", path, timeout)[0]["customizedMetadata"]["worker"])
        except (SlipwayError, LookupError, TypeError):  # nobody was free to answer, or it was no handler of ours
            return False
        return not left

    def register(self, archive: str, workers: int, timeout: float) -> None:
        """Registers an archive of the store and waits until its workers are ready; one that fails leaves no trace.

        Raises VersionLoadFailed with TorchServe's reason, ServerUnavailable."""
        query = urlencode({"url": archive, "initial_workers": workers, "synchronous": "true"})
        status, body = self._request(self._management, "POST", f"/models?{query}", timeout)
        if status != 200:
            raise VersionLoadFailed(f"{archive}: TorchServe refused to load it", observed=_text(status, body))

    def unregister(self, model: str, version: int, timeout: float = 60.0) -> None:
        """Ends a version's workers. The default version can only go last. Raises SlipwayErrors as they fit."""
        self._ask("DELETE", f"/models/{quote(model)}/{version}", timeout)

    def set_default(self, model: str, version: int, timeout: float = 5.0) -> None:
        """The version that answers requests without one."""
        self._ask("PUT", f"/models/{quote(model)}/{version}/set-default", timeout)

    def scale(self, model: str, version: int, workers: int, timeout: float) -> None:
        """Exactly so many workers; waits until they are ready."""
        query = urlencode({"min_worker": workers, "max_worker": workers, "synchronous": "true"})
        self._ask("PUT", f"/models/{quote(model)}/{version}?{query}", timeout)

    def predict(
        self, model: str, version: int, body: bytes, timeout: float, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """The JSON answer of a public model to an encoded image or a JSON body. Raises InstanceDead, NetworkFailed,
        ServerUnavailable and the error of the model's own that the answer carries."""
        headers = {"Content-Type": "application/octet-stream"}
        if parameters:
            headers["x-slipway-parameters"] = json.dumps(parameters)
        path = f"/predictions/{quote(model)}/{version}"
        status, answer = self._request(self._inference, "POST", path, timeout, body, headers)
        if status == 200:
            return _json(answer)
        raise _failed(f"{model} version {version}", status, answer)

    def _ask(self, method: str, path: str, timeout: float) -> Any:
        status, body = self._request(self._management, method, path, timeout)
        if status == 200:
            return _json(body)
        text = _text(status, body)
        if status == 404:
            kind = VersionNotFound if "VersionNotFound" in text else ModelNotFound
            raise kind("TorchServe does not have it", observed=text)
        raise ServerUnavailable("TorchServe refused a management call", observed=f"{method} {path}: {text}")

    def _request(
        self,
        address: tuple[str, int],
        method: str,
        path: str,
        timeout: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*address, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise ServerUnavailable("TorchServe did not answer", observed=f"{method} {path}: {problem}") from problem
        finally:
            connection.close()


def _version(row: Mapping[str, Any]) -> VersionInfo:
    model, version = str(row["modelName"]), int(row["modelVersion"])
    workers = tuple(
        WorkerInfo(model, version, max(0, int(worker.get("pid", 0))), str(worker.get("status", "")))
        for worker in row.get("workers", [])
    )
    queue = row.get("jobQueueStatus") or {}
    pending, remaining = (int(queue.get(name, 0)) for name in ("pendingRequests", "remainingCapacity"))
    return VersionInfo(model, version, workers, pending, remaining)


def _failed(what: str, status: int, body: bytes) -> SlipwayError:
    text = _text(status, body)
    if _DEAD_WORKER in text:
        return InstanceDead(f"{what}: a worker died", observed=text)
    if status in (404, 503, 507):
        return ServerUnavailable(f"{what} did not answer", observed=text)
    return NetworkFailed(f"{what} failed", observed=text)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as problem:
        raise NetworkFailed("TorchServe's answer is not JSON", observed=repr(body[:100])) from problem


def _text(status: int, body: bytes) -> str:
    """What TorchServe says, or a handler of ours."""
    try:
        values = json.loads(body)
        said = values.get("error") or ": ".join(str(values[key]) for key in ("type", "message") if key in values)
    except (ValueError, AttributeError):
        said = body[:300].decode("utf-8", "replace")
    return f"{status} {said}".strip()
