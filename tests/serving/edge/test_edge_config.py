"""What the edge writes for Envoy, without a server behind it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from serving.edge import admin, config, process, routes, scripts
from serving.edge.local_replies import TABLE, local_reply_config
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.routes import EdgeRoutes
from slipway.errors import ServerNotRunning, all_errors

CODES = {error.code for error in all_errors()}
#: Words in capitals of the scripts that are not codes: data types of the protocol, constants.
CODE = re.compile(r'"([A-Z][A-Z]+_[A-Z_]+|INTERNAL)"|^\s+([A-Z]+_[A-Z_]+|INTERNAL) = \{ "\d', re.MULTILINE)


@pytest.fixture
def edge(tmp_path: Path) -> EdgeConfig:
    return EdgeConfig("127.0.0.1", 1, 2, 3, 4, 5, 1000, tmp_path / "log", tmp_path / "work")


def lua_files() -> list[Path]:
    return sorted(scripts.LUA_DIR.glob("*.lua"))


def test_every_code_of_the_scripts_is_one_of_slipway() -> None:
    used = {code for file in lua_files() for pair in CODE.findall(file.read_text()) for code in pair if code}
    assert len(used) >= 10
    assert used <= CODES


def test_every_local_reply_has_a_code_and_the_first_fit_decides() -> None:
    assert {error.code for _, _, error, _ in TABLE} <= CODES
    for status in range(400, 600):
        assert any(first <= status <= last for first, last, _, _ in TABLE), status
    assert len(local_reply_config()["mappers"]) == 1 + 2 * len(TABLE)


def test_every_script_is_used_and_small() -> None:
    protocols = PROTOCOLS.values()
    used = {name for protocol in protocols for name in (*protocol.downstream, *protocol.upstream, *protocol.tries)}
    used |= {*scripts.DISCARD, *scripts.FLEET, *scripts.FORWARD}
    assert used == {file.stem for file in lua_files()}
    for file in lua_files():
        text = file.read_text()
        assert text.startswith("--") and len(text.splitlines()) < 300, file.name
        assert max(map(len, text.splitlines())) <= 120, file.name


def test_field_numbers_are_the_protocols() -> None:
    """The scripts read fields by number: 1 and 2 of every message that names a model, 5 to 7 of ModelInferRequest."""
    for name in ("ModelInferRequest", "ModelReadyRequest", "ModelMetadataRequest", "ModelConfigRequest"):
        fields = {field.number: field.name for field in getattr(service_pb2, name).DESCRIPTOR.fields}
        assert fields[1].endswith("name") and fields[2].endswith("version")
    infer = {field.name: field.number for field in service_pb2.ModelInferRequest.DESCRIPTOR.fields}
    assert (infer["inputs"], infer["outputs"], infer["raw_input_contents"]) == (5, 6, 7)
    tensor = service_pb2.ModelInferRequest.InferInputTensor.DESCRIPTOR.fields
    assert [field.name for field in tensor][:4] == ["name", "datatype", "shape", "parameters"]
    answers = (service_pb2.ServerLiveResponse(live=True), service_pb2.ServerReadyResponse(ready=True))
    assert {answer.SerializeToString() for answer in answers} == {b"\x08\x01"}


def test_write_and_update(edge: EdgeConfig) -> None:
    config.write(edge, EdgeRoutes(False))
    bootstrap: dict[str, Any] = json.loads(edge.bootstrap_path.read_text())
    ports = [
        listener["address"]["socket_address"]
        for listener in bootstrap["static_resources"]["listeners"]
        if "address" in listener
    ]
    assert [(port["address"], port["port_value"]) for port in ports] == [("127.0.0.1", 1), ("127.0.0.1", 2)]
    assert bootstrap["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    first = json.loads(edge.routes_path.read_text())
    routes.update(edge, EdgeRoutes(True, {"digits": 12, "digits.onnx": 3}))
    second = json.loads(edge.routes_path.read_text())
    assert first["version_info"] != second["version_info"]
    (host,) = second["resources"][0]["virtual_hosts"]
    for route in host["routes"]:
        table = route["metadata"]["filter_metadata"]["envoy.filters.http.lua"]
        assert table["model:digits"] == {"version": "12"} and table["model:digits.onnx"] == {"version": "3"}
        assert table["ready"] is True
    assert [file.name for file in edge.routes_path.parent.iterdir()] == ["routes.json"]
    assert not list(edge.work_dir.glob("routes-*"))


def test_envoy_accepts_the_configuration(edge: EdgeConfig) -> None:
    config.write(edge, EdgeRoutes(True, {"digits": 1}))
    argv, env = process.command(edge)
    done = subprocess.run([*argv, "--mode", "validate"], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_no_envoy(edge: EdgeConfig) -> None:
    assert not admin.ready(edge)
    with pytest.raises(ServerNotRunning):
        admin.active_requests(edge)
    with pytest.raises(ServerNotRunning):
        routes.wait_in_force(edge, EdgeRoutes(True), timeout=0.1)
