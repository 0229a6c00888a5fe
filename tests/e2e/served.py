"""A project that is served for one test module, clients that ask it without a pause, and what its processes do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serving import control
from serving.client import PredictClient
from serving.client.address import of_edge
from serving.state import State
from slipway.errors import SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings
from tests.serving.dominant_colour import Recipe, photograph, publish

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    settings: Settings
    repository: Repository
    scratch: Path
    report: dict[str, float] = field(default_factory=dict)
    patience: float = 10.0

    @property
    def state(self) -> State:
        return control.status(self.settings)

    def publish(self, **recipe: object) -> int:
        return publish(self.repository, self.scratch, Recipe(**recipe))

    def client(self, transport: str = "grpc") -> PredictClient:
        state = self.state
        return PredictClient(of_edge(state.edge, state.engine["name"], transport), timeout=self.patience)

    def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> float:
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < timeout, f"not within {timeout} s: {self.state.to_dict()}"
            time.sleep(0.02)
        return time.monotonic() - started


class Load:
    """Asks without a pause from a thread of its own; keeps when what failed."""

    def __init__(self, served: Served, model: str = "colour", transport: str = "grpc") -> None:
        self.good, self.failures = 0, list[tuple[float, SlipwayError]]()
        self.labels: set[tuple[str, float]] = set()
        self._served, self._model, self._transport = served, model, transport
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        image = photograph()
        with self._served.client(self._transport) as client:
            while not self._stop.is_set():
                try:
                    answer = client.predict(self._model, [image])[0]
                    self.good += 1
                    self.labels.add((answer.labels[0], round(answer.scores[0], 3)))
                except SlipwayError as problem:
                    self.failures.append((time.monotonic(), problem))
                    time.sleep(0.02)


def ready_versions(served: Served, model: str) -> list[int]:
    return [item.version for item in served.state.model(model).versions if item.state == "ready"]


def answers(client: PredictClient, model: str) -> bool:
    try:
        return bool(client.predict(model, [photograph()])[0].labels)
    except SlipwayError:
        return False


def access_log(served: Served) -> list[dict]:
    path = served.settings.state_dir / "logs" / "edge-access.jsonl"
    return [json.loads(line) for line in path.read_text().rpartition("\n")[0].splitlines()]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
