"""Clients of a rollout: labelled images at a steady rate, half over HTTP, half over gRPC; labels follow as feedback."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crowd import Clients, Sent
from routing.controller import heartbeat
from serving import control
from serving.client import Answer, PredictClient
from serving.client.address import of_edge
from slipway.errors import ServerNotRunning, SlipwayError
from slipway.settings import Settings

_TIMEOUT = 30.0
_FEEDBACK_SECONDS = 0.5
#: Labels of one POST.
_MOST = 2000


@dataclass(frozen=True)
class Image:
    """``truth``: its label."""

    content: bytes
    truth: str


@dataclass(frozen=True)
class Asked(Sent):
    """A request with what was answered: ``version`` and ``label``; ``truth``: what is right."""

    version: int = 0
    label: str = ""
    truth: str = ""

    @property
    def wrong(self) -> bool:
        """Answered with another label than the true one."""
        return self.good and self.label != self.truth


def labelled_images(folder: Path) -> list[Image]:
    """``7_0001.png`` shows a 7."""
    return [Image(path.read_bytes(), path.name.split("_")[0]) for path in sorted(folder.iterdir())]


class Traffic(Clients[Asked]):
    """``rate``: requests per second of all ``clients`` together, each a unit of its own."""

    def __init__(
        self, settings: Settings, model: str, images: Sequence[Image], rate: float, clients: int, labels: bool = True
    ) -> None:
        super().__init__(clients, _TIMEOUT + 5)
        self._settings, self._model, self._images = settings, model, images
        self._interval, self._clients = clients / rate, clients
        if labels:
            self._threads.append(threading.Thread(target=self._label, daemon=True))

    def _run(self, index: int, protocol: str) -> None:
        state = control.status(self._settings)
        url, due = of_edge(state.edge, state.engine["name"], protocol), time.monotonic()
        client = PredictClient(url, _TIMEOUT)
        for number in itertools.count(index, self._clients):
            due = max(due + self._interval, time.monotonic())
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            asked = self._ask(client, protocol, self._images[number % len(self._images)], index)
            self._requests.append(asked)
            if not asked.accepted:
                # a channel waits longer and longer after each refusal: a new one tries at once
                client.close()
                client = PredictClient(url, _TIMEOUT)
        client.close()

    def _ask(self, client: PredictClient, protocol: str, image: Image, index: int) -> Asked:
        name, begun, answer, error, accepted = str(uuid.uuid4()), time.monotonic(), None, "", True
        self._waiting[index] = begun
        try:
            answer = client.ask(self._model, [image.content], request_id=name)
        except ServerNotRunning as problem:
            error, accepted = str(problem), False
        except SlipwayError as problem:
            error = str(problem)
        except Exception as problem:
            # whatever it is, it is a request that failed and not a client that falls silent
            error = f"{type(problem).__name__}: {problem}"
        del self._waiting[index]
        label, failed = _label_of(answer)
        version = int(answer.version or 0) if answer else 0
        return Asked(protocol, begun, time.monotonic(), error or failed, accepted, name, version, label, image.truth)

    def _label(self) -> None:
        sent = 0
        while not self._stop.wait(_FEEDBACK_SECONDS):
            found = [{"request_id": item.id, "label": item.truth} for item in self._requests[sent : sent + _MOST]]
            # no controller runs yet, or it is being started again: the same labels are sent later
            with contextlib.suppress(OSError, http.client.HTTPException):
                beat, body = heartbeat.read(self._settings), "\n".join(map(json.dumps, found)).encode()
                if found and beat is not None and _posted(beat.feedback_port, body):
                    sent += len(found)


def _posted(port: int, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/feedback", body)
        return connection.getresponse().status < 300
    finally:
        connection.close()


def _label_of(answer: Answer | None) -> tuple[str, str]:
    """-> label, error of the one image."""
    if answer is None:
        return "", ""
    prediction = answer.predictions[0]
    return ("", str(prediction.error)) if prediction.error is not None else (str(prediction.labels[0]), "")
