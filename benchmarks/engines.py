"""Engines for the time of a benchmark: each behind its own supervisor with a state directory and ports of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from serving import control
from serving.client.address import of_edge
from serving.ports import free_ports
from serving.state import State
from slipway.errors import BenchmarkFailed, VersionLoadFailed
from slipway.repository import Repository
from slipway.repository.layout import network_directories
from slipway.settings import Settings

EngineName = Literal["triton", "torchserve"]
ENGINES: tuple[EngineName, ...] = ("triton", "torchserve")
#: TorchServe starts one worker after the other, each of which imports torch.
_START_SECONDS = 600.0


def engine_name(text: str) -> EngineName:
    """Raises BenchmarkFailed for an engine that there is not."""
    if text not in ENGINES:
        raise BenchmarkFailed(f"there is no engine {text!r}", expected=f"of {', '.join(ENGINES)}")
    return text


def settings_for(settings: Settings, engine: EngineName, folder: Path, models: Sequence[str] = ()) -> Settings:
    """Settings that serve the same repository by ``engine``, with everything else in ``folder``.

    ``models``: only these (all unless named), from a copy of the repository that holds nothing else."""
    repository = narrowed(settings.repository, models, folder / "models") if models else settings.repository
    http_port, grpc_port = free_ports(settings.host, 2)
    changes = {
        "engine": engine,
        "repository": repository,
        "state_dir": folder / engine,
        "http_port": http_port,
        "grpc_port": grpc_port,
        "load_previous": False,
        "start_seconds": max(_START_SECONDS, settings.start_seconds),
    }
    return settings.model_copy(update=changes)


@contextmanager
def serving(settings: Settings, progress: Callable[[str], None] = lambda text: None) -> Iterator[State]:
    """Serves while the body runs; a model of which no version can be loaded is left for its clients to find out."""
    try:
        with suppress(VersionLoadFailed):
            control.start_detached(settings, progress=progress)
        yield control.status(settings)
    finally:
        control.stop(settings)


def address(state: State, transport: str) -> str:
    """The url of an engine's edge for ``serving.client.PredictClient``; ``transport``: http or grpc."""
    return of_edge(state.edge, state.engine["name"], transport)


def narrowed(repository: Path, models: Sequence[str], to: Path) -> Path:
    """A repository of some models with their networks. Versions are never changed, so links serve as copies.

    Raises ModelNotFound."""
    if to.is_dir():
        return to
    for model in models:
        Repository(repository).versions(model)
        for folder in (repository / model, *network_directories(repository, model)):
            shutil.copytree(folder, to / folder.name, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
    return to


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
