"""A real TorchServe with two versions of the digits sample, exported by the command line; stopped at the end."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from handlers.placement import fused_networks
from serving.json_log import open_log
from serving.torchserve.archive import Archives
from serving.torchserve.loader import TorchServeLoader
from serving.torchserve.server import TorchServeServer, configure
from slipway.repository import Repository
from slipway.settings import Settings
from tests.conftest import ROOT, Command

TIMEOUT = 120.0


@dataclass
class Rig:
    """One TorchServe and what belongs to it."""

    settings: Settings
    server: TorchServeServer
    repository: Repository
    loader: TorchServeLoader = field(init=False)

    def start(self) -> None:
        client = self.server.start(TIMEOUT, lambda: False)
        archives = Archives(self.repository, self.server.config.store, self.server.config.cores)
        self.loader = TorchServeLoader(client, archives, self.server.log, TIMEOUT, self.server.reason)

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON body and headers (lower case) of one request to the inference port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.config.ports.http, timeout=timeout)
        try:
            kind = {"Content-Type": "application/octet-stream"}
            connection.request("POST", f"/predictions/{path}", body, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def pids(self, model: str, version: int) -> list[int]:
        found = next(item for item in self.server.client.describe(model) if item.version == version)
        return sorted(worker.pid for worker in found.workers if worker.status == "READY")

    def processes(self) -> list[psutil.Process]:
        java = psutil.Process(self.server.process.pid)
        return [java, *java.children(recursive=True)]


def rig_at(folder: Path, repository: Path) -> Rig:
    settings = Settings(root=folder, repository=repository, state_dir=folder / "run")
    log = open_log("torchserve-tests", folder / "logs")
    return Rig(settings, TorchServeServer(configure(settings), settings.state_dir, log), Repository(repository))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, slipway: Command) -> Path:
    """A repository with versions 1 and 2 of digits: another network each."""
    folder = tmp_path_factory.mktemp("digits") / "repository"
    env = {"SLIPWAY_ROOT": str(ROOT), "SLIPWAY_REPOSITORY": str(folder)}
    wide = ("source.arguments.width=24", "source.checkpoint=var/samples/digits/wide.safetensors")
    changes = [item for change in wide for item in ("--set", change)]
    for command in (["samples", "digits"], ["export", "digits"], ["export", "digits", *changes]):
        done = slipway(*command, env=env, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def held_out() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "var/samples/digits/test").glob("*.*"))[:100]]


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Iterator[Rig]:
    """Both versions loaded."""
    made = rig_at(tmp_path_factory.mktemp("torchserve"), digits)
    try:
        made.start()
        assert made.loader.apply("digits", [1, 2]) == {}
        yield made
    finally:
        made.server.stop(grace=20)


Expected = Callable[[bytes, int], dict[str, Any]]


@pytest.fixture(scope="session")
def expected(digits: Path) -> Expected:
    """What a version says of an image in this process."""
    repository, pipelines = Repository(digits), {}
    for version in (1, 2):
        contract = repository.contract("digits", version)
        networks = open_networks(fused_networks(repository.version_dir("digits", version), contract), contract)
        pipelines[version] = Pipeline(contract, networks)

    def answer(image: bytes, version: int) -> dict[str, Any]:
        record = pipelines[version].run([image])[0].record()
        return {"labels": list(record["labels"]), "scores": record["scores"].tolist()}

    return answer
