"""The command line as a process: help, JSON, exit codes, and errors without tracebacks."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from serving.client import Prediction
from slipway.repository import Repository
from tests.slipway.publishing import publication


@pytest.fixture
def project(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config/models").mkdir(parents=True)
    repository = Repository(tmp_path / "model_repository")
    for content in (b"first", b"second"):
        repository.publish(publication(tmp_path / "files", content=content))
    return {"SLIPWAY_ROOT": str(tmp_path)}


def test_help_names_the_commands(slipway) -> None:
    run = slipway("--help")
    assert run.returncode == 0
    for command in ("export", "serve", "predict", "versions", "rollback", "doctor", "bench", "status", "samples"):
        assert command in run.stdout


def test_versions_promote_and_rollback(slipway, project: dict[str, str]) -> None:
    run = slipway("versions", "--json", "--verify", env=project)
    rows = json.loads(run.stdout)["versions"]
    assert [(row["version"], row["role"], row["state"]) for row in rows] == [
        (1, "stable", "verified"),
        (2, "", "verified"),
    ]
    moved = json.loads(slipway("promote", "digits", "2", "--json", env=project).stdout)
    assert moved == {"model": "digits", "stable": 2, "previous": 1, "served": False}
    assert "version 1 is stable" in slipway("rollback", "digits", env=project).stdout
    assert "Published versions" in slipway("versions", env=project).stdout


def test_damage_shows_in_versions_and_lint(slipway, project: dict[str, str]) -> None:
    path = Path(project["SLIPWAY_ROOT"]) / "model_repository/digits.onnx/2/model.onnx"
    path.chmod(0o644)
    path.write_bytes(b"other")
    run = slipway("versions", "--verify", "--json", env=project)
    assert run.returncode == 1
    assert json.loads(run.stdout)["versions"][1]["state"].startswith("damaged")
    assert json.loads(run.stderr)["error"]["code"] == "REPOSITORY_DAMAGED"
    assert slipway("lint", env=project).returncode == 1
    refused = slipway("promote", "digits", "2", env=project)
    assert (refused.returncode, "REPOSITORY_DAMAGED" in refused.stderr) == (1, True)
    manifest = path.parents[2] / "digits/1/manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    assert [row["version"] for row in json.loads(slipway("versions", "--json", env=project).stdout)["versions"]] == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["rollback", "digits"], "ROLLBACK_IMPOSSIBLE", 4),
        (["rollback", "digist"], "MODEL_NOT_FOUND", 4),
        (["promote", "digits", "7"], "VERSION_NOT_FOUND", 4),
        (["promote", "digits/", "1"], "MODEL_NOT_FOUND", 4),
        (["samples", "nothing"], "SAMPLE_UNAVAILABLE", 4),
        (["samples", "digits", "--out", "/proc/x"], "OUTPUT_UNWRITABLE", 3),
        (["export", "nothing"], "SPEC_NOT_FOUND", 4),
        (["status"], "SERVER_NOT_RUNNING", 5),
        (["predict", "digits", "missing.png", "--url", "http://127.0.0.1:9"], "INPUT_FILE_UNREADABLE", 3),
        (["predict", "digits", __file__, "--url", "http://127.0.0.1:9"], "SERVER_NOT_RUNNING", 5),
        (["predict", "digits", __file__, "--url", "ftp://127.0.0.1:9"], "REQUEST_INVALID", 3),
    ],
)
def test_errors_have_codes_and_no_traceback(
    slipway, project: dict[str, str], arguments: list[str], code: str, exit_code: int
) -> None:
    run = slipway(*arguments, env=project)
    assert run.returncode == exit_code, run.stderr
    assert f"error {code}:" in run.stderr
    assert "Traceback" not in run.stderr + run.stdout


def test_wrong_usage_and_wrong_settings(slipway, project: dict[str, str]) -> None:
    assert slipway("promote", "digits").returncode == 2
    run = slipway("versions", env={**project, "SLIPWAY_HTTP_PORT": "http"})
    assert run.returncode == 3
    assert "SLIPWAY_HTTP_PORT" in run.stderr


def test_down_without_a_server(slipway, project: dict[str, str]) -> None:
    run = slipway("down", env=project)
    assert (run.returncode, run.stdout.strip()) == (0, "nothing was running")


def test_shell_completion_offers_published_models(slipway, project: dict[str, str]) -> None:
    env = {**project, "_SLIPWAY_COMPLETE": "complete_bash", "COMP_WORDS": "slipway rollback d", "COMP_CWORD": "2"}
    run = slipway(env=env)
    assert run.stdout.split() == ["digits"], run.stderr


def test_drawings_of_images_with_one_name_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from slipway.cli.predict import predict

    class Client:
        def __init__(self, address: str) -> None: ...
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None: ...
        def ask(self, model: str, images: list[bytes], *_: object) -> SimpleNamespace:
            return SimpleNamespace(predictions=[Prediction() for _ in images], version=1, request_id="r")

    monkeypatch.setattr("serving.client.PredictClient", Client)
    images = [tmp_path / name for name in ("a/x.png", "b/x.png", "x-2.png", "c/x.jpg")]
    for width, path in enumerate(images, 10):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, 8)).save(path)
    predict("digits", images, url="http://127.0.0.1:9", draw=tmp_path / "out.png")
    names = ["out-x.png", "out-x-2.png", "out-x-2-2.png", "out-x-3.png"]
    assert [Image.open(tmp_path / name).width for name in names] == [10, 11, 12, 13]
    assert ", ".join(str(tmp_path / name) for name in names) in "".join(capsys.readouterr().out.splitlines())
