"""The embedded PostgreSQL: started, shared, killed, recovered and stopped without a trace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from routing import postgres as module
from routing.postgres import Postgres
from serving.leftovers import sweep
from slipway.errors import StoreUnavailable
from slipway.settings import Settings


def connect(server: Postgres) -> psycopg.Connection:
    return psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True)


@pytest.fixture
def server(tmp_path: Path):
    server = Postgres(tmp_path / "postgres")
    server.start()
    yield server
    server.stop()


def shared_memory() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines} | {f.name for f in Path("/dev/shm").glob("PostgreSQL*")}


def processes_in(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and process.joinpath("stat").read_text().split(") ")[1][0] != "Z":
                found.append(process.name)
        except OSError:
            continue
    return found


def segment_of(server: Postgres) -> str:
    return (server.folder / "postmaster.pid").read_text().splitlines()[6].split()[1]


def test_starts_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    assert not server.alive()
    server.start()
    segment = segment_of(server)
    assert segment in shared_memory()
    assert connect(server).execute("select 1").fetchone() == (1,)
    server.stop()
    assert (server.alive(), server.pid) == (False, None)
    assert processes_in(server.folder) == []
    assert segment not in shared_memory()
    assert not list(server.folder.glob(".s.PGSQL*"))
    server.stop()


def test_a_second_process_gets_the_running_one(server: Postgres) -> None:
    code = (
        "import sys; from pathlib import Path; from routing.postgres import Postgres; p = Postgres(Path(sys.argv[1]))"
    )
    code += "; p.start(); print(p.pid)"
    other = subprocess.run([sys.executable, "-c", code, str(server.folder)], capture_output=True, text=True, check=True)
    assert int(other.stdout) == server.pid
    assert server.alive()


def test_killed_hard_it_recovers_what_was_committed(server: Postgres) -> None:
    with connect(server) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (7)")
    url = server.url
    os.kill(server.pid, signal.SIGKILL)
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 10
    assert server.url == url
    assert connect(server).execute("select n from kept").fetchone() == (7,)


_KEEPS_A_ZOMBIE = """
import sys
from pathlib import Path
from routing.postgres import Postgres
server = Postgres(Path(sys.argv[1]))
server.start()
print("started", flush=True)
sys.stdin.read()
"""


def test_a_killed_server_whose_parent_does_not_look_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _KEEPS_A_ZOMBIE, str(folder)], **pipes) as parent:
        assert parent.stdout.readline() == b"started\n"
        server = Postgres(folder)
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began < 10
        assert server.pid != killed
        assert connect(server).execute("select 1").fetchone() == (1,)
        server.stop()
        parent.stdin.close()


def test_stopped_after_a_hard_kill_it_leaves_nothing(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    segment = segment_of(server)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    assert not server.alive()
    assert processes_in(server.folder) == []
    assert segment not in shared_memory()


def test_a_long_path_still_gets_its_socket(tmp_path: Path) -> None:
    server = Postgres(tmp_path / ("long" * 25) / "postgres")
    server.start()
    try:
        assert connect(server).execute("select 1").fetchone() == (1,)
    finally:
        server.stop()
    assert not server._socket_folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_root_without_user_namespaces_takes_another_account(tmp_path_factory, monkeypatch) -> None:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="slipway-test-"))
    folder.chmod(0o711)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    server = Postgres(folder / "postgres")
    try:
        server.start()
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert connect(server).execute("select 1").fetchone() == (1,)
    finally:
        server.stop()
        shutil.rmtree(folder)


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(StoreUnavailable, match="not empty"):
        Postgres(folder).start()
    assert (folder / "mine.txt").read_text() == "mine"


def test_a_server_whose_controller_was_killed_is_swept_with_everything_else(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state_dir=tmp_path / "run")
    server = Postgres(settings.state_dir / "postgres")
    server.start()
    try:
        assert sweep(settings) == 1
        deadline = time.monotonic() + 20
        while server.alive():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert sweep(settings) == 0
    finally:
        server.stop()
