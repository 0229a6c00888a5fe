"""A project of its own beside the user's: its own repository and server, driven by the commands that a user types."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing.rollout import control as rollouts
from routing.rollout.state import RolloutState
from serving import control
from serving.ports import free_ports
from serving.state import State
from slipway.errors import BenchmarkFailed
from slipway.repository import Repository
from slipway.settings import Settings

Progress = Callable[[str], None]
_POLL = 0.02
_COMMAND_SECONDS = 600.0


@dataclass
class Project:
    """``settings``: whose root, environments and samples are used; ``folder``: everything that is made lies below it.

    ``transcript``: every command and what it printed, as a terminal shows it.
    """

    settings: Settings
    environment: dict[str, str]
    progress: Progress
    transcript: list[str] = field(default_factory=list)

    @classmethod
    def below(cls, folder: Path, settings: Settings, progress: Progress) -> Project:
        """A project in ``folder`` on free ports of loopback."""
        http, grpc = free_ports("127.0.0.1", 2)
        places = {"REPOSITORY": folder / "model_repository", "STATE_DIR": folder / "run"}
        values = {**places, "ROOT": settings.root, "HTTP_PORT": http, "GRPC_PORT": grpc, "ENGINE": settings.engine}
        kept = {key: value for key, value in os.environ.items() if key != "SLIPWAY_DATABASE_URL"}
        environment = kept | {f"SLIPWAY_{key}": str(value) for key, value in values.items()}
        return cls(Settings.load(environment), environment, progress)

    @property
    def repository(self) -> Repository:
        """Its versions."""
        return Repository(self.settings.repository)

    @property
    def state(self) -> State:
        """What its supervisor says; raises ServerNotRunning."""
        return control.status(self.settings)

    def slipway(self, *arguments: str) -> str:
        """Runs `slipway ...` and returns its stdout. Raises BenchmarkFailed when it fails."""
        self._say(f"$ slipway {shlex.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-c", "from slipway.cli import main; main()", *arguments],
            cwd=self.settings.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
        text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
        if text:
            self._say(text)
        if done.returncode != 0:
            raise BenchmarkFailed(f"slipway {shlex.join(arguments)} failed", observed=done.stderr.strip()[-1500:])
        return done.stdout

    def note(self, text: str) -> None:
        """A line of the transcript that no command printed."""
        self._say(f"# {text}")

    def rollout(self, model: str) -> RolloutState:
        """The rollout as it is now."""
        return rollouts.current(self.settings, model)

    def ready(self, model: str) -> Sequence[int]:
        """Versions that answer."""
        found = self.state.model(model)
        return [item.version for item in found.versions if item.state == "ready"] if found else []

    def until(self, condition: Callable[[], bool], what: str, limit: float) -> float:
        """Waits; returns the seconds it took. Raises BenchmarkFailed when it is not so within ``limit`` seconds."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > limit:
                raise BenchmarkFailed(
                    f"not within {limit:.0f} s: {what}", fix="see the logs in .slipway/rollouts/run/logs"
                )
            time.sleep(_POLL)
        return time.monotonic() - begun

    def _say(self, text: str) -> None:
        self.transcript.append(text)
        self.progress(text)
