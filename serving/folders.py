"""The folders that serving works in: fit for Triton, and made when they are absent; else refused by name."""

from __future__ import annotations

import os
from pathlib import Path

from slipway.doctor import SERVABLE_TEXT, odd_characters
from slipway.errors import EnvironmentUnfit
from slipway.settings import Settings

_VARIABLES = {"repository": "SLIPWAY_REPOSITORY", "state_dir": "SLIPWAY_STATE_DIR", "triton_env": "SLIPWAY_TRITON_ENV"}


def refuse_unservable(settings: Settings) -> None:
    """Raises EnvironmentUnfit for a repository, state directory or Triton environment whose path Triton cannot take."""
    for name, variable in _VARIABLES.items():
        path: Path = getattr(settings, name)
        odd = odd_characters(path)
        if odd:
            raise EnvironmentUnfit(
                f"the path of {name} has characters that Triton's python backend cannot take",
                observed=f"{', '.join(map(repr, odd))} in {path}",
                expected=SERVABLE_TEXT,
                fix=f"move the project, or set {variable} to another path",
            )


def make(settings: Settings) -> None:
    """Makes the state directory with its ``logs``, and the repository. Raises EnvironmentUnfit where that fails."""
    _make(settings.state_dir / "logs", "state_dir", writable=True)
    _make(settings.repository, "repository", writable=False)


def _make(folder: Path, name: str, writable: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _unusable(folder, name, problem.strerror or str(problem)) from problem
    if not os.access(folder, os.R_OK | os.X_OK | (os.W_OK if writable else 0)):
        raise _unusable(folder, name, "no permission")


def _unusable(folder: Path, name: str, reason: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the folder of {name} cannot be used",
        observed=f"{folder}: {reason}",
        expected="a folder that this user may use, or a place where one can be made",
        fix=f"correct it, or set {_VARIABLES[name]} to another path",
    )
