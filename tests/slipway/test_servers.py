"""The list of other servers: in YAML and in the environment, and what is no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway import errors
from slipway.servers import ServerAddress
from slipway.settings import Settings


def load(root: Path, **environ: str) -> Settings:
    return Settings.load({"SLIPWAY_ROOT": str(root), **environ})


def test_servers_from_file_and_environment(tmp_path: Path) -> None:
    folder = tmp_path / "config/environments"
    folder.mkdir(parents=True)
    assert load(tmp_path).server_addresses == ()
    (folder / "local.yaml").write_text('servers: ["10.0.0.7:8000:8001", "[fd00::7]:80:81"]\n')
    one, other = load(tmp_path).server_addresses
    assert one == ServerAddress("10.0.0.7", 8000, 8001) and not one.is_name
    assert (other.host, other.name, other.at("grpc"), other.is_name) == (
        "fd00::7",
        "[fd00::7]:80",
        "[fd00::7]:81",
        False,
    )
    named = load(tmp_path, SLIPWAY_SERVERS="gpu-1.example.org:8000:8001, gpu-2.example.org:8000:8001,").server_addresses
    assert [server.host for server in named] == ["gpu-1.example.org", "gpu-2.example.org"]
    assert named[0].is_name
    assert load(tmp_path, SLIPWAY_SERVERS="").server_addresses == ()


def test_settings_survive_the_way_to_the_supervisor(tmp_path: Path) -> None:
    settings = load(tmp_path, SLIPWAY_SERVERS="a:1:2,b:1:2")
    assert Settings.model_validate_json(settings.model_dump_json(exclude_unset=True)) == settings


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ("10.0.0.7", "HOST:HTTP_PORT:GRPC_PORT"),
        ("10.0.0.7:8000", "HOST:HTTP_PORT:GRPC_PORT"),
        ("http://10.0.0.7:8000:8001", "HOST:HTTP_PORT:GRPC_PORT"),
        ("10.0.0.7:8000:99999", "has a port that is none"),
        ("10.0.0.7:0:8001", "has a port that is none"),
        ("10.0.0.7:8000:8000", "names one port twice"),
        ("[fd00::7::8]:8000:8001", "IPv6"),
        ("a:8000:8001,b:8000:8001,a:8000:8002", "a:8000 is listed twice"),
    ],
)
def test_what_is_no_list_of_servers(tmp_path: Path, servers: str, words: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match="SLIPWAY_SERVERS") as raised:
        load(tmp_path, SLIPWAY_SERVERS=servers)
    assert words in raised.value.message


def test_a_wrong_server_in_the_file_is_shown_by_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "config/environments"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text("http_port: 9000\nservers:\n  - a:1:2\n  - nowhere\n")
    with pytest.raises(errors.SettingsInvalid, match=r"local.yaml:2: servers: .*'nowhere' is not a server"):
        load(tmp_path)
