"""State file, process identity, ports, shared memory, logs."""

import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving import control, ports, process_id
from serving.json_log import open_log
from serving.state import ModelState, ProcessState, State, VersionState, read_state, running_state
from serving.triton import shared_memory
from slipway.errors import ModelNotFound, PortUnavailable, ServerNotRunning, VersionLoadFailed
from slipway.settings import Settings


def state(pid: int, ticks: int | None) -> State:
    model = ModelState("digits", 1, 2, "fused", (VersionState(1, "ready"), VersionState(2, "failed", "why")))
    return State(
        process=ProcessState(pid, ticks),
        phase="ready",
        repository="/repository",
        edge={"http": "127.0.0.1:8000", "grpc": "127.0.0.1:8001"},
        engine={"name": "triton", "grpc": "127.0.0.1:9", "admin_key": "secret"},
        envoy={},
        models=(model,),
        settled=True,
    )


def test_state_is_private_and_survives_the_file(tmp_path: Path) -> None:
    own = state(os.getpid(), process_id.start_ticks(os.getpid()))
    own.write(tmp_path)
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    found = running_state(tmp_path)
    assert found is not None and found.models == own.models and found.engine == own.engine
    values = found.to_dict()
    assert values["pid"] == os.getpid() and "secret" not in json.dumps(values)
    assert values["models"][0]["versions"][1]["reason"] == "why"


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1', "[]"])
def test_a_state_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_state(tmp_path) is None


def test_a_used_again_pid_is_not_the_supervisor(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state_dir=tmp_path)
    state(os.getpid(), 1).write(tmp_path)
    assert read_state(tmp_path) is not None and running_state(tmp_path) is None
    with pytest.raises(ServerNotRunning):
        control.status(settings)
    assert not control.stop(settings)
    assert not (tmp_path / "state.json").exists(), "a dead supervisor's state is cleaned"


def test_signals_reach_only_the_process_that_was_meant() -> None:
    child = subprocess.Popen(["/bin/sleep", "30"])
    ticks = process_id.start_ticks(child.pid)
    assert process_id.parent(child.pid) == os.getpid()
    assert not process_id.send(child.pid, (ticks or 0) + 1, signal.SIGKILL)
    assert process_id.alive(child.pid, ticks)
    assert process_id.send(child.pid, ticks, signal.SIGKILL)
    child.wait()
    assert not process_id.alive(child.pid, ticks) and process_id.parent(child.pid) is None


def test_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = ports.choose("127.0.0.1", port, explicit=False, what="HTTP")
        assert other != port and ports.is_free("127.0.0.1", other)
        with pytest.raises(PortUnavailable, match=str(port)):
            ports.choose("127.0.0.1", port, explicit=True, what="HTTP")
    assert ports.choose("127.0.0.1", port, explicit=True, what="HTTP") == port
    assert len(set(ports.free_ports("127.0.0.1", 5))) == 5


def test_ports_that_are_given_out_are_none_that_a_connection_may_take(monkeypatch, tmp_path: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert first < 16000 or max(ports.free_ports("127.0.0.1", 200)) < first
    kernel = tmp_path / "range"
    kernel.write_text("20000\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", kernel)
    assert min(ports.free_ports("127.0.0.1", 200)) >= 15000 and max(ports.free_ports("127.0.0.1", 200)) < 20000
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports, "_own_range", lambda: range(taken.getsockname()[1], taken.getsockname()[1] + 1))
        assert ports.free_ports("127.0.0.1", 1) != [taken.getsockname()[1]]


@pytest.mark.parametrize("explicit", [True, False])
def test_an_address_of_another_machine_is_no_taken_port(explicit: bool) -> None:
    # TEST-NET-1 (RFC 5737): no machine has it
    with pytest.raises(PortUnavailable, match="not an address of this machine"):
        ports.choose("192.0.2.1", 8000, explicit=explicit, what="HTTP")


def failed_state(settings: Settings, pointer_updated: str) -> None:
    own = state(os.getpid(), process_id.start_ticks(os.getpid()))
    model = replace(own.models[0], pointer_updated=pointer_updated)
    replace(own, models=(model,)).write(settings.state_dir)


def test_a_refusal_counts_when_it_is_younger_than_the_pointer(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state_dir=tmp_path)
    first, second, third = (f"2026-11-21T01:02:03.00000{number}+00:00" for number in (1, 2, 3))
    failed_state(settings, first)
    with pytest.raises(VersionLoadFailed, match="why"):
        control.wait_until_routed(settings, "digits", 2, timeout=5, pointer_updated=first)
    with pytest.raises(VersionLoadFailed, match="not served within"):
        control.wait_until_routed(settings, "digits", 2, timeout=0.2, pointer_updated=second)
    failed_state(settings, third)
    with pytest.raises(VersionLoadFailed, match="why"):
        control.wait_until_routed(settings, "digits", 2, timeout=5, pointer_updated=second)


def test_a_model_that_the_server_does_not_see(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state_dir=tmp_path)
    failed_state(settings, "")
    started = time.monotonic()
    with pytest.raises(ModelNotFound):
        control.wait_until_routed(settings, "nothing", 1)
    assert 4 < time.monotonic() - started < 8


def test_only_own_shared_memory_is_swept(tmp_path: Path) -> None:
    prefix, other = shared_memory.prefix_for(tmp_path / "a"), shared_memory.prefix_for(tmp_path / "b")
    assert prefix != other
    for name in (f"{prefix}1", f"{prefix}2", f"{other}1", "somebody"):
        (tmp_path / name).touch()
    assert shared_memory.sweep(prefix, tmp_path) == 2
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([f"{other}1", "somebody"])


def test_log_lines_are_json_with_fields(tmp_path: Path) -> None:
    log = open_log("tested", tmp_path)
    log.info("loaded", model="digits", seconds=1.5)
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("failed")
    log.write("debug", "not kept")
    first, second = [json.loads(line) for line in (tmp_path / "tested.jsonl").read_text().splitlines()]
    assert (first["component"], first["level"], first["model"]) == ("tested", "info", "digits")
    assert "ValueError: odd" in second["exception"]
