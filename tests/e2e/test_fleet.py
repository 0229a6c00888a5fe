"""Three supervisors of one model, each with its own Triton and Envoy: who has proven a version gets its requests.

``first`` lists the two others, and ``second`` lists ``first``. At the start ``second`` lacks version 2, and ``third``
has another network under that number.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import control
from serving.client import PredictClient
from serving.ports import free_ports
from slipway import experiment
from slipway.experiment import Arm, Experiment
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.served import ROOT, Load, Served, access_log
from tests.serving.dominant_colour import LABELS, logits, photograph

pytestmark = pytest.mark.e2e
GAINS = {1: 4.0, 2: 6.0}
FALSE_GAIN = 9.0
Fleet = tuple[Served, Served, Served]


def make(root: Path, ports: list[int], others: list[int]) -> Served:
    servers = tuple(f"127.0.0.1:{http}:{grpc}" for http, grpc in zip(others[::2], others[1::2], strict=True))
    settings = Settings(
        root=root,
        triton_env=ROOT / ".venv-triton",
        start_seconds=60,
        http_port=ports[0],
        grpc_port=ports[1],
        servers=servers,
    )
    return Served(settings, Repository(settings.repository), root / "scratch")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    roots = [tmp_path_factory.mktemp(name) for name in ("first", "second", "third")]
    ports = free_ports("127.0.0.1", 6)
    first = make(roots[0], ports[:2], ports[2:])
    second, third = make(roots[1], ports[2:4], ports[:2]), make(roots[2], ports[4:], [])
    first.settings.repository.mkdir()
    first.publish(gain=GAINS[1], instances=1)
    first.publish(model="tint", gain=GAINS[1], instances=1)
    for other in (second, third):
        shutil.copytree(first.settings.repository, other.settings.repository)
    (first.settings.repository / "tint.onnx/1/model.onnx").write_bytes(b"damaged on this machine")
    first.publish(gain=GAINS[2], instances=1)
    third.publish(gain=FALSE_GAIN, instances=1)
    servers = (first, second, third)
    with ThreadPoolExecutor(3) as pool:
        try:
            list(pool.map(lambda served: control.start_detached(served.settings, wait=False), servers))
            yield servers
        finally:
            list(pool.map(lambda served: control.stop(served.settings), servers))


def name_of(served: Served) -> str:
    return f"127.0.0.1:{served.settings.http_port}"


def seen(at: Served, other: Served, version: int, model: str = "colour") -> str | None:
    """What ``at`` says of a version on another server."""
    found = next(item for item in at.state.servers if item.name == name_of(other))
    return next((item.state for item in found.versions if (item.model, item.version) == (model, version)), None)


def place(served: Served, transport: str) -> str:
    """How the access log of the first server calls another one."""
    return f"envoy://127.0.0.1:{served.settings.http_port if transport == 'http' else served.settings.grpc_port}/"


def right(version: int) -> dict[str, float]:
    image = Image.open(io.BytesIO(photograph())).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    raised = np.exp(logits(np.asarray(image)[None], GAINS[version])[0])
    return dict(zip(LABELS, map(float, raised / raised.sum()), strict=True))


class Asking:
    """Requests whose answers are all right, by what they were for; where they went is in the first server's log."""

    def __init__(self, first: Served) -> None:
        self.first = first
        self.ids: dict[tuple[str, str], list[str]] = {}
        self.versions: dict[str, int] = {}

    def ask(self, what: str, version: int | None, count: int, model: str = "colour", at: Served | None = None) -> None:
        for transport in ("http", "grpc"):
            with (at or self.first).client(transport) as client:
                self.ids[what, transport] = [self._one(client, model, version) for _ in range(count)]

    def _one(self, client: PredictClient, model: str, version: int | None) -> str:
        answer = client.ask(model, [photograph()], version)
        (prediction,) = answer.predictions
        found = dict(zip(prediction.labels, prediction.scores, strict=True))
        assert version is None or answer.version == str(version)
        assert found == pytest.approx(right(int(answer.version)), abs=0.02)
        self.versions[answer.request_id] = int(answer.version)
        return answer.request_id

    def upstreams(self) -> dict[tuple[str, str], Counter[str | None]]:
        """None: the first server had not this request."""
        newest, rows = set(list(self.ids.values())[-1]), dict[str, str]()

        def written() -> bool:
            rows.update({row["request_id"]: row["upstream"] for row in access_log(self.first)})
            return newest <= rows.keys()

        self.first.until(written)
        return {key: Counter(rows.get(one) for one in ids) for key, ids in self.ids.items()}


def test_requests_go_where_their_version_is_proven(fleet: Fleet) -> None:
    first, second, third = fleet
    asking = Asking(first)
    first.until(lambda: (seen(first, second, 1), seen(first, third, 1)) == ("ready", "ready"), 60)
    first.until(lambda: first.state.model("colour").routed == 1, 30)
    first.until(lambda: (seen(first, second, 2), seen(first, third, 2)) == ("lagging", "wrong"), 30)
    first.until(lambda: seen(first, second, 1, "tint") == seen(first, third, 1, "tint") == "ready", 30)
    second.until(lambda: seen(second, first, 1) == "ready", 30)
    asking.ask("by number", 1, 30)
    asking.ask("by default", None, 30)
    asking.ask("another one", 2, 12)
    asking.ask("not here", 1, 5, model="tint")
    asking.ask("at the second", 1, 16, at=second)
    took = catch_up(first, second)
    asking.ask("caught up", 2, 20)
    canary(first, asking)
    killed = envoy_is_killed(first, second)
    stopped = server_stops(first, second, asking)
    engines = {name: first.state.engine[name] for name in ("http", "grpc")}
    print(f"caught up after {took:.1f} s; requests while Envoy was killed {killed}, while a server stopped {stopped}")
    for (what, transport), found in asking.upstreams().items():
        own, two, three = engines[transport], place(second, transport), place(third, transport)
        expected = {
            "by number": {own, two, three},
            "by default": {own, two, three},
            "another one": {own},
            "not here": {two, three},
            # passed on to the first, which does not pass it on again
            "at the second": {None, own},
            "caught up": {own, two},
            "canary 1": {own, two, three},
            "canary 2": {own, two},
            "without the second": {own, three},
        }[what]
        assert set(found) == expected, (what, transport, found)


def catch_up(first: Served, second: Served) -> float:
    """Publishes the missing version; seconds until it gets requests."""
    second.publish(gain=GAINS[2], instances=1)
    return first.until(lambda: seen(first, second, 2) == "ready", 20)


def canary(first: Served, asking: Asking) -> None:
    """Half of the units see version 2, wherever either is."""
    experiment.write(first.settings.repository, Experiment("colour", "e1", "salt", stable=1, arms=(Arm(2, 0, 5000),)))
    with first.client() as client:
        first.until(lambda: client.ask("colour", [photograph()]).version == "2")
    asking.ask("canary", None, 40)
    for transport in ("http", "grpc"):
        ids = asking.ids.pop(("canary", transport))
        for version in (1, 2):
            asking.ids[f"canary {version}", transport] = [one for one in ids if asking.versions[one] == version]
    experiment.remove(first.settings.repository, "colour")
    with first.client() as client:
        first.until(lambda: {client.ask("colour", [photograph()]).version for _ in range(16)} == {"1"})


def envoy_is_killed(first: Served, second: Served) -> int:
    """Its supervisor starts it again. Requests meanwhile, none of which failed."""
    with Load(first, transport="http") as http, Load(first, transport="grpc") as grpc:
        time.sleep(0.5)
        pid = second.state.envoy["pid"]
        os.kill(pid, signal.SIGKILL)
        second.until(lambda: second.state.envoy["pid"] != pid)
        time.sleep(1.0)
    assert http.failures == [] and grpc.failures == []
    assert len(http.labels | grpc.labels) == 1
    return http.good + grpc.good


def server_stops(first: Served, second: Served, asking: Asking) -> int:
    """As :func:`envoy_is_killed`, for a server that goes for good."""
    with Load(first, transport="http") as http, Load(first, transport="grpc") as grpc:
        control.stop(second.settings)
        first.until(lambda: seen(first, second, 1) == "unreachable")
    assert http.failures == [] and grpc.failures == []
    asking.ask("without the second", 1, 20)
    return http.good + grpc.good
