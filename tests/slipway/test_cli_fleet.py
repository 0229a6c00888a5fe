"""What `slipway status` and `slipway route --status` say of other servers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from serving import process_id
from serving.state import ProcessState, ServerState, ServerVersion, State, running_state

SERVERS = (
    ServerState(
        "10.0.0.7:8000",
        (
            ServerVersion("digits", 1, "ready"),
            ServerVersion("digits", 2, "lagging", "model digits has no version 2"),
            ServerVersion("digits", 3, "ready"),
            ServerVersion("other", 1, "ready"),
        ),
    ),
    ServerState("10.0.0.8:8000"),
)


def serve(project: dict[str, str]) -> None:
    """Writes the state of a supervisor that runs: this process stands for it."""
    root = Path(project["SLIPWAY_ROOT"])
    state = State(
        ProcessState(os.getpid(), process_id.start_ticks(os.getpid())),
        "ready",
        str(root / "model_repository"),
        edge={"http": "127.0.0.1:8000", "grpc": "127.0.0.1:8001"},
        engine={"name": "triton"},
        envoy={},
        servers=SERVERS,
    )
    folder = root / ".slipway/run"
    folder.mkdir(parents=True, exist_ok=True)
    state.write(folder)
    assert running_state(folder).servers == SERVERS


def test_status_shows_every_server(slipway, project: dict[str, str]) -> None:
    serve(project)
    shown = slipway("status", env=project).stdout
    assert "10.0.0.7:8000" in shown and "1 ready, 2 lagging, 3 ready" in shown and "has no version 2" in shown
    assert "not asked yet" in shown
    values = json.loads(slipway("status", "--json", env=project).stdout)
    lagging = {"model": "digits", "version": 2, "state": "lagging", "reason": "model digits has no version 2"}
    assert lagging in values["servers"][0]["versions"]


def test_the_status_of_a_rollout_shows_its_versions(slipway, project: dict[str, str]) -> None:
    assert slipway("route", "digits", "--canary", "2=10%", env=project).returncode == 0
    serve(project)
    values = json.loads(slipway("route", "digits", "--status", "--json", env=project).stdout)
    assert [item["version"] for item in values["servers"][0]["versions"]] == [1, 2]
