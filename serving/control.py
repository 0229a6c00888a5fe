"""What the command line asks of serving: start, stop, status, and waiting for a version. No terminal output here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from serving import folders, leftovers, process_id
from serving.state import FILE_NAME, ModelState, State, read_state, running_state
from slipway.errors import (
    ModelNotFound,
    ServerAlreadyRunning,
    ServerNotRunning,
    ServerStartFailed,
    SlipwayError,
    VersionLoadFailed,
    all_errors,
)
from slipway.files import write_atomically
from slipway.settings import Settings

_POLL = 0.05
_SETTINGS_FILE = "settings.json"
_OUTPUT_FILE = "supervisor.out"
_ERROR_FILE = "start-error.json"
#: The supervisor looks at the repository every 0.3 s: a model that it has not seen after this time is not there.
_UNSEEN_SECONDS = 5.0
#: A stop waits for the drain, and this many seconds for the servers to end.
_STOP_MARGIN = 15.0

Progress = Callable[[str], None]


def serve_foreground(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C; logs to standard error too. Raises what the start raises."""
    from serving.supervisor.supervisor import Supervisor

    clean_up(settings)
    Supervisor(settings, echo=True).run()


def start_detached(settings: Settings, wait: bool = True, progress: Progress = lambda text: None) -> State:
    """Starts the supervisor in the background, or returns the state of the one that runs already.

    With ``wait``, until every model answers its golden image. Raises ServerAlreadyRunning when the one that runs
    serves another repository or with another engine, VersionLoadFailed when no version of a model could be loaded (the
    rest is served), and what the start raises: EnvironmentUnfit, PortUnavailable, ServerStartFailed.
    """
    state = running_state(settings.state_dir)
    if state is None:
        clean_up(settings)
        process = _spawn(settings)
        progress(f"starting {settings.engine} and Envoy")
        state = _wait_started(settings, process)
    else:
        _refuse_another(state, settings)
    return _wait_settled(settings, progress) if wait else state


def stop(settings: Settings, timeout: float | None = None) -> bool:
    """Stops the supervisor and all it started; False when none ran. ``timeout`` seconds, then it is killed."""
    state = running_state(settings.state_dir)
    if state is None:
        clean_up(settings)
        return False
    limit = time.monotonic() + (settings.drain_seconds + _STOP_MARGIN if timeout is None else timeout)
    process_id.send(state.process.pid, state.process.ticks, signal.SIGTERM)
    while state.process.alive and time.monotonic() < limit:
        time.sleep(_POLL)
    if state.process.alive:
        # Its children die with it (parent-death signal).
        process_id.send(state.process.pid, state.process.ticks, signal.SIGKILL)
        while state.process.alive:
            time.sleep(_POLL)
    clean_up(settings)
    return True


def status(settings: Settings) -> State:
    """What is served now; raises ServerNotRunning."""
    state = running_state(settings.state_dir)
    if state is None:
        raise ServerNotRunning(
            "nothing is served from this project",
            observed=f"no supervisor of {settings.state_dir}",
            fix="`slipway serve`",
        )
    return state


def wait_until_routed(
    settings: Settings, model: str, version: int, timeout: float = 120.0, pointer_updated: str = ""
) -> State:
    """Waits until requests without a version reach ``version``.

    ``pointer_updated``: the stamp (``Pointer.updated``) of the pointer that was just written; what the supervisor
    said of the version before it saw that pointer does not count as a refusal.

    Raises VersionLoadFailed with the reason when the supervisor refused it or ``timeout`` seconds passed,
    ServerNotRunning when the supervisor ends, ModelNotFound when it does not see the model for some seconds.
    """
    deadline = time.monotonic() + timeout
    unseen = time.monotonic() + _UNSEEN_SECONDS
    while True:
        state = status(settings)
        found = state.model(model)
        if found is not None and found.routed == version:
            return state
        if found is not None:
            _refuse_failed(found, version, pointer_updated)
        if found is not None or _is_busy(state):
            unseen = time.monotonic() + _UNSEEN_SECONDS
        if time.monotonic() > min(deadline, unseen):
            raise _too_late(model, version, timeout, found)
        time.sleep(_POLL)


def clean_up(settings: Settings) -> None:
    """Removes what a supervisor that was killed left: its servers, their shared memory, its state file."""
    state = read_state(settings.state_dir)
    if state is None or state.process.alive:
        return
    for server in (state.envoy, state.engine):
        if "pid" in server:
            process_id.send(server["pid"], server.get("ticks"), signal.SIGKILL)
    leftovers.sweep(settings)
    (settings.state_dir / FILE_NAME).unlink(missing_ok=True)


def _refuse_another(state: State, settings: Settings) -> None:
    """Raises ServerAlreadyRunning when the supervisor that runs does not do what the settings ask for."""
    if state.repository != str(settings.repository):
        raise _runs_already("serves another repository", state.repository, str(settings.repository))
    engine = str(state.engine.get("name"))
    if settings.engine_is_explicit and engine != settings.engine:
        raise _runs_already("serves with another engine", engine, settings.engine)


def _runs_already(what: str, observed: str, expected: str) -> ServerAlreadyRunning:
    return ServerAlreadyRunning(
        f"a supervisor of this project {what}",
        observed=observed,
        expected=expected,
        fix="stop it with `make down`, or set SLIPWAY_STATE_DIR to another folder to run both side by side",
    )


def _spawn(settings: Settings) -> subprocess.Popen[bytes]:
    folders.refuse_unservable(settings)
    folders.make(settings)
    folder = settings.state_dir
    (folder / _ERROR_FILE).unlink(missing_ok=True)
    # Only what was set: which ports a person chose decides whether a taken one is an error.
    write_atomically(folder / _SETTINGS_FILE, settings.model_dump_json(exclude_unset=True), mode=0o600)
    with (folder / "logs" / _OUTPUT_FILE).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.supervisor", str(folder / _SETTINGS_FILE)],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    """The caller's, with this project first on the module path: the supervisor starts in the state directory."""
    root = str(Path(__file__).resolve().parent.parent)
    rest = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{root}:{rest}" if rest else root}


def _wait_started(settings: Settings, process: subprocess.Popen[bytes]) -> State:
    """Until the supervisor has written its first state, or has ended."""
    deadline = time.monotonic() + settings.start_seconds
    while time.monotonic() < deadline:
        state = running_state(settings.state_dir)
        if state is not None and state.pid == process.pid:
            return state
        if process.poll() is not None:
            raise _start_error(settings, process.returncode)
        time.sleep(_POLL)
    process.kill()
    raise _start_error(settings, None)


def _wait_settled(settings: Settings, progress: Progress) -> State:
    deadline = time.monotonic() + settings.start_seconds
    told: dict[str, str] = {}
    while time.monotonic() < deadline:
        state = running_state(settings.state_dir)
        if state is None:
            raise _start_error(settings, None)
        _tell(state, told, progress)
        if state.settled and state.phase in ("ready", "degraded"):
            _refuse_unrouted(state)
            return state
        time.sleep(_POLL)
    raise ServerStartFailed(
        f"the models were not ready within {settings.start_seconds:.0f} s",
        observed="; ".join(f"{name}: {text}" for name, text in told.items()) or "no model seen",
        fix=f"see {settings.state_dir / 'logs'}; `slipway serve` goes on trying, `make down` stops it",
    )


def _tell(state: State, told: dict[str, str], progress: Progress) -> None:
    for model in state.models:
        text = ", ".join(f"version {item.version} {item.state}" for item in model.versions)
        if told.get(model.name) != text:
            told[model.name] = text
            progress(f"{model.name}: {text}")


def _refuse_unrouted(state: State) -> None:
    for model in state.models:
        reasons = [item.reason for item in model.versions if item.reason]
        if model.routed is None and reasons:
            raise VersionLoadFailed(
                f"no version of {model.name} could be loaded; what else is published is being served",
                observed=reasons[-1],
                fix=f"publish {model.name} again, or see the logs",
            )


def _start_error(settings: Settings, code: int | None) -> SlipwayError:
    """The error that the supervisor wrote before it ended, as the class it was."""
    try:
        values = json.loads((settings.state_dir / _ERROR_FILE).read_text(encoding="utf-8"))
        kinds = {kind.code: kind for kind in all_errors()}
        return kinds[values.pop("code")](values.pop("message"), **values)
    except (OSError, ValueError, KeyError, TypeError):
        output = settings.state_dir / "logs" / _OUTPUT_FILE
        last = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if output.exists() else []
        return ServerStartFailed(
            "the supervisor ended before it was ready",
            observed=f"return code {code}" + (f", {last[0]}" if last else ""),
            fix=f"see {settings.state_dir / 'logs'}",
        )


def _refuse_failed(found: ModelState, version: int, pointer_updated: str) -> None:
    # Before the supervisor has seen the new pointer, a failure in its state is an old one. Stamps sort as text; a
    # later one than ours is of a publication in between.
    if found.pointer != version or found.pointer_updated < pointer_updated:
        return
    number = found.version(version)
    if number is not None and number.state == "failed":
        raise VersionLoadFailed(f"{found.name} version {version} is not served", observed=number.reason)


def _is_busy(state: State) -> bool:
    """While something loads, the supervisor does not look for new models."""
    return not state.settled or any(item.state == "loading" for model in state.models for item in model.versions)


def _too_late(model: str, version: int, timeout: float, found: ModelState | None) -> SlipwayError:
    if found is None:
        return ModelNotFound(f"the server does not know {model!r}", fix="`slipway versions` lists what is published")
    number = found.version(version)
    return VersionLoadFailed(
        f"{model} version {version} was not served within {timeout:.0f} s",
        observed=f"state {number.state if number else 'unknown'}, pointer {found.pointer}, routed {found.routed}",
    )
