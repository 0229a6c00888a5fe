"""What is measured: one published version, where it is served, and the processes that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import control
from slipway import experiment
from slipway.errors import ModelNotFound, ServerNotRunning
from slipway.repository import Repository
from slipway.settings import Settings


@dataclass(frozen=True)
class Subject:
    """A served version. ``contract`` and ``network`` are files; ``pids`` names the root process of each component;
    ``may_answer``: the versions that requests without one may reach, this one first: those of an experiment too."""

    model: str
    version: int
    placement: str
    format: str
    contract: Path
    network: Path
    edge_http: str
    edge_grpc: str
    triton_grpc: str
    pids: Mapping[str, int]
    may_answer: tuple[int, ...] = ()


def find_subject(settings: Settings, model: str) -> Subject:
    """The version of ``model`` that this machine's edge answers with. Raises ServerNotRunning with the command to run
    when nothing is served, or this model is not."""
    repository = Repository(settings.repository)
    if model not in repository.models():
        raise ModelNotFound(
            f"{model} is not published, so there is nothing to measure",
            observed=f"published: {', '.join(repository.models()) or 'nothing'}",
            fix=_deploy(model),
        )
    state = _state(settings, model)
    row = _row(state, model)
    version = int(row["routed"])
    contract = repository.contract(model, version)
    network = settings.repository / contract.network.model / str(version) / contract.network.file
    return Subject(
        model=model,
        version=version,
        placement=str(row.get("placement") or "fused"),
        format=contract.network.format,
        contract=repository.version_dir(model, version) / "contract.json",
        network=network,
        edge_http=state["edge"]["http"],
        edge_grpc=state["edge"]["grpc"],
        triton_grpc=state["engine"]["grpc"],
        may_answer=_may_answer(settings, model, version),
        pids={state["engine"]["name"]: int(state["engine"]["pid"]), "envoy": int(state["envoy"]["pid"])},
    )


def _may_answer(settings: Settings, model: str, version: int) -> tuple[int, ...]:
    found = experiment.read(settings.repository, model)
    return tuple(dict.fromkeys((version, *(arm.version for arm in found.arms)))) if found else (version,)


def _state(settings: Settings, model: str) -> Mapping[str, Any]:
    try:
        return control.status(settings).to_dict()
    except ServerNotRunning as error:
        raise ServerNotRunning(
            "no server runs from this project, and a benchmark needs one", observed=error.message, fix=_deploy(model)
        ) from error


def _row(state: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """The model's row of the state, which has a version that answers."""
    for row in state["models"]:
        if row["name"] == model and row.get("routed") is not None:
            found: Mapping[str, Any] = row
            return found
    raise ServerNotRunning(
        f"the server runs, but does not answer for {model}",
        observed=f"phase {state['phase']}; models: {', '.join(map(_described, state['models'])) or 'none'}",
        expected=f"{model} with a version that is ready",
        fix=_deploy(model),
    )


def _described(row: Mapping[str, Any]) -> str:
    states = ", ".join(f"{version['version']} {version['state']}" for version in row.get("versions", []))
    return f"{row['name']} ({states})"


def _deploy(model: str) -> str:
    return (
        f"run `slipway deploy {model}`, which exports, publishes and serves it; `slipway status` shows what is served"
    )
