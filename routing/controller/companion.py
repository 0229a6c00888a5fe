"""Asks the supervisor to keep the controller alive, and takes that back when no rollout needs it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from routing.controller import places
from routing.rollout import state as states
from routing.rollout.apply import Place, is_settled
from slipway.errors import ExperimentInvalid, RolloutRefused
from slipway.files import write_atomically
from slipway.settings import Settings


def ensure_controller(settings: Settings, anew: bool = False) -> None:
    """Writes the companion file. Call it after the rollout's state is written: then no removal crosses it.

    ``anew``: as these settings have it. Else what is there stays: who only asks may have another environment.
    """
    places.folder(settings)
    with _locked(settings):
        if anew or not places.settings_file(settings).exists():
            # only what was set: which ports a person chose decides whether a taken one is an error
            text = settings.model_dump_json(exclude_unset=True)
            write_atomically(places.settings_file(settings), text, mode=0o600)
        path = places.companion(settings)
        text = json.dumps({"argv": argv(settings), "env": environment()}, indent=1)
        if not path.exists() or (anew and path.read_text(encoding="utf-8") != text):
            write_atomically(path, text)


def check_database(settings: Settings) -> None:
    """Raises RolloutRefused when a rollout runs whose controller keeps what it sees in another database."""
    try:
        used = json.loads(places.settings_file(settings).read_text(encoding="utf-8")).get("database_url")
    except (OSError, ValueError, AttributeError):
        return
    if used != settings.database_url and needed(settings):
        raise RolloutRefused(
            "a rollout runs whose controller uses another database",
            observed="SLIPWAY_DATABASE_URL (database_url) "
            + ("is another one" if settings.database_url else "is not set"),
            expected="the one that it was started with" if used else "the embedded one, without SLIPWAY_DATABASE_URL",
            fix="set it as it was, or end the rollouts that run first; `slipway route --status` lists them",
        )


def release_controller(settings: Settings) -> bool:
    """Removes the companion file unless a rollout needs it; returns whether it is gone."""
    with _locked(settings):
        if needed(settings):
            return False
        places.companion(settings).unlink(missing_ok=True)
        return True


def needed(settings: Settings) -> bool:
    """Whether a rollout runs, or one that is over has left its experiment."""
    return any(_needs(settings, model) for model in states.rolled_out(settings.repository))


def argv(settings: Settings) -> list[str]:
    """The command that runs the controller."""
    return [sys.executable, "-m", "routing.controller", str(places.settings_file(settings))]


def environment() -> dict[str, str]:
    """This project first on the module path: the supervisor starts companions in the state directory."""
    root = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}:{rest}" if rest and rest != root else root}


def _needs(settings: Settings, model: str) -> bool:
    try:
        state = states.read(settings.repository, model)
    except ExperimentInvalid:
        return False
    return state is not None and not is_settled(state, Place(settings))


@contextlib.contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    folder = places.companion(settings).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{places.NAME}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
