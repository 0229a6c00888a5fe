"""The product as a user has it: the digits sample exported into a fresh repository and served by real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving import control
from serving.client import PredictClient
from serving.ports import free_ports
from serving.state import State
from slipway.repository import Repository
from slipway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Product:
    """One served project. ``env`` makes the command line work on it; images are the held-out digits' files."""

    settings: Settings
    env: dict[str, str]
    images: list[Path]

    @property
    def state(self) -> State:
        return control.status(self.settings)

    @property
    def repository(self) -> Repository:
        return Repository(self.settings.repository)

    def address(self, transport: str) -> str:
        return f"{transport}://{self.state.edge[transport]}"

    def client(self, transport: str) -> PredictClient:
        return PredictClient(self.address(transport))

    def tree_memory(self) -> dict[str, int]:
        """Proportional set size in bytes by process name, of the supervisor and all that it started."""
        import psutil

        supervisor = psutil.Process(self.state.pid)
        found: dict[str, int] = {}
        for process in (supervisor, *supervisor.children(recursive=True)):
            name = f"{process.name()}:{process.pid}"
            found[name] = process.memory_full_info().pss
        return found


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory, slipway: Any) -> Iterator[Product]:
    """Two versions of digits, published and served through the command line; stopped at the end of the session."""
    folder = tmp_path_factory.mktemp("product")
    ports = free_ports("127.0.0.1", 2)
    env = {
        "SLIPWAY_ROOT": str(ROOT),
        "SLIPWAY_REPOSITORY": str(folder / "model_repository"),
        "SLIPWAY_STATE_DIR": str(folder / "run"),
        "SLIPWAY_HTTP_PORT": str(ports[0]),
        "SLIPWAY_GRPC_PORT": str(ports[1]),
    }
    run = slipway("deploy", "digits", env=env, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    settings = Settings.load({**os.environ, **env})
    images = sorted((ROOT / "var/samples/digits/test").iterdir())
    try:
        yield Product(settings, env, images)
    finally:
        stopped = slipway("down", env=env)
        assert stopped.returncode == 0, stopped.stderr
