"""What is being served now: ``<state_dir>/state.json``, written by the supervisor and read by everybody else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from serving import process_id
from slipway.files import write_atomically

FILE_NAME = "state.json"
PHASES = ("starting", "ready", "degraded", "draining")
VERSION_STATES = ("ready", "loading", "failed", "unloaded")
#: Of a version on another server: proven by its golden image; absent; another answer or version; nobody answers.
SERVER_STATES = ("ready", "lagging", "wrong", "unreachable")


@dataclass(frozen=True)
class VersionState:
    """One published version: ``state`` is one of VERSION_STATES, ``reason`` says why it failed."""

    version: int
    state: str
    reason: str | None = None


@dataclass(frozen=True)
class ModelState:
    """One public model: ``routed`` answers requests without a version, ``pointer`` is the one that should.

    ``pointer_updated``: the stamp of that pointer; a failure of its version was judged after it was written.
    """

    name: str
    routed: int | None
    pointer: int
    placement: str
    versions: tuple[VersionState, ...]
    networks: dict[str, list[int]] = field(default_factory=dict)
    pointer_updated: str = ""

    def version(self, number: int) -> VersionState | None:
        """The state of one version, or None when the supervisor has not seen it."""
        return next((item for item in self.versions if item.version == number), None)


@dataclass(frozen=True)
class ProcessState:
    """A process by pid and by its start (clock ticks since boot), so that a re-used pid is not mistaken for it."""

    pid: int
    ticks: int | None

    @property
    def alive(self) -> bool:
        """Whether that very process runs."""
        return process_id.alive(self.pid, self.ticks)


@dataclass(frozen=True)
class ServerVersion:
    """A version on another server: ``state`` is one of SERVER_STATES, ``reason`` says what it answered or did not."""

    model: str
    version: int
    state: str
    reason: str | None = None


@dataclass(frozen=True)
class ServerState:
    """Another server of the fleet as it was seen last; ``name``: HOST:HTTP_PORT."""

    name: str
    versions: tuple[ServerVersion, ...] = ()


@dataclass(frozen=True)
class State:
    """The whole of state.json. ``engine``: the model server, its ``name`` as ``SLIPWAY_ENGINE`` spells it, addresses,
    pid. ``settled``: every version has been tried at least once since the start. ``servers``: the others of a fleet."""

    process: ProcessState
    phase: str
    repository: str
    edge: dict[str, str]
    engine: dict[str, Any]
    envoy: dict[str, Any]
    models: tuple[ModelState, ...] = ()
    restarts: dict[str, int] = field(default_factory=dict)
    settled: bool = False
    servers: tuple[ServerState, ...] = ()
    updated: str = ""

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self.process.pid

    def model(self, name: str) -> ModelState | None:
        """The state of one public model, or None."""
        return next((item for item in self.models if item.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values for people and scripts: everything but the key of Triton's restricted APIs."""
        values = asdict(self)
        process = values.pop("process")
        values["engine"].pop("admin_key", None)
        return {"pid": process["pid"], **values}

    def write(self, folder: Path) -> None:
        """Replaces ``<folder>/state.json``; readable by its owner only, because it holds the key."""
        values = asdict(self) | {"updated": datetime.now(timezone.utc).isoformat(timespec="milliseconds")}
        process = values.pop("process")
        text = json.dumps({"pid": process["pid"], "ticks": process["ticks"], **values}, indent=1)
        write_atomically(folder / FILE_NAME, text, mode=0o600)


def read_state(folder: Path) -> State | None:
    """The state that a supervisor wrote, alive or not; None when there is none or it cannot be understood."""
    try:
        values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        process = ProcessState(values.pop("pid"), values.pop("ticks"))
        models = tuple(_model(item) for item in values.pop("models"))
        servers = tuple(_server(item) for item in values.pop("servers", ()))
        return State(process=process, models=models, servers=servers, **values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _model(values: dict[str, Any]) -> ModelState:
    versions = tuple(VersionState(**item) for item in values.pop("versions"))
    return ModelState(versions=versions, **values)


def _server(values: dict[str, Any]) -> ServerState:
    return ServerState(values["name"], tuple(ServerVersion(**item) for item in values["versions"]))


def running_state(folder: Path) -> State | None:
    """The state of a supervisor that runs now, or None."""
    state = read_state(folder)
    return state if state is not None and state.process.alive else None
