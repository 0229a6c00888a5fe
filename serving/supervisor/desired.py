"""What should be loaded: read from the repository, which is the only place where that is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serving.triton import model_config
from slipway import experiment
from slipway.errors import ExperimentInvalid
from slipway.repository import Repository


@dataclass(frozen=True)
class DesiredModel:
    """One public model as it should be served.

    ``active``: versions to load, the most wanted first: the pointer's, those of the experiment, the one before the
    pointer's, the newest.
    ``networks``: Triton model name -> the active versions that have it. ``called``: version -> the networks it calls
    by BLS, empty when the public model opens its networks itself. ``pointer_updated``: the pointer's stamp, or "".
    ``previous``: the version before the pointer's, while it is active.
    """

    model: str
    pointer: int
    published: tuple[int, ...]
    active: tuple[int, ...]
    placement: str
    networks: dict[str, tuple[int, ...]]
    called: dict[int, tuple[str, ...]]
    pointer_updated: str = ""
    previous: int | None = None

    @property
    def answering(self) -> tuple[int, ...]:
        """Versions that may answer requests without one, the most wanted first: those that were made stable. What is
        loaded besides (an arm, a shadow, the newest) is there to be tried, and answers whom it is told to."""
        wanted = dict.fromkeys((self.pointer, self.previous))
        return tuple(version for version in wanted if version in self.active)


def read_desired(repository: Repository, model: str, load_previous: bool = True) -> DesiredModel:
    """Raises what the repository raises for a damaged model; other models are not touched by that."""
    found = read_in_process(repository, model, load_previous)
    active = found.active
    config = model_config.read_config(config_path(repository.path, model))
    placement = model_config.placement(config)
    own = {version: _networks(repository, model, version) for version in active}
    called = own if placement == "separate" else {}
    names = {name for found in called.values() for name in found} | _direct(config, set().union(*own.values()))
    present = {version: set(repository.manifest(model, version).networks) for version in active}
    networks = {name: tuple(version for version in active if name in present[version]) for name in sorted(names)}
    present_networks = {name: versions for name, versions in networks.items() if versions}
    return replace(found, placement=placement, networks=present_networks, called=called)


def read_in_process(repository: Repository, model: str, load_previous: bool = True) -> DesiredModel:
    """As :func:`read_desired`, for an engine whose public models always open their networks themselves."""
    published = tuple(repository.versions(model))
    pointer = repository.pointer(model)
    previous = pointer.previous if load_previous else None
    wanted = dict.fromkeys([pointer.stable, *_tried(repository.path, model), previous, published[-1]])
    return DesiredModel(
        model=model,
        pointer=pointer.stable,
        published=published,
        active=tuple(version for version in wanted if version in published),
        placement="in process",
        networks={},
        called={},
        pointer_updated=pointer.updated,
        previous=previous,
    )


def _tried(repository: Path, model: str) -> tuple[int, ...]:
    """Versions of the model's experiment. A file that cannot be understood is no experiment; the supervisor logs it."""
    try:
        found = experiment.read(repository, model)
    except ExperimentInvalid:
        return ()
    return found.versions if found is not None else ()


def _networks(repository: Repository, model: str, version: int) -> tuple[str, ...]:
    """The networks behind a version's answers, as models of the repository."""
    return tuple(network.model for network in repository.contract(model, version).networks().values())


def _direct(config: Any, own: set[str]) -> set[str]:
    """Networks that clients may call: parameter ``networks`` of config.pbtxt (names, by comma), and the ones served.

    The file is the newest version's: the list of it alone would take away what the stable version's clients call. An
    empty list is a person's word that none may be called.
    """
    listed = model_config.parameter(config, "networks")
    named = {name.strip() for name in (listed or "").split(",") if name.strip()}
    return named | own if named or listed is None else set()


def config_path(repository: Path, model: str) -> Path:
    """The config.pbtxt of a Triton model, public or network."""
    return repository / model / "config.pbtxt"
