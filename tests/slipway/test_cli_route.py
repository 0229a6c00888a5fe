"""`slipway route` as a process: start, change, show, end; a declared file; errors that say what to do."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from routing.plan.model import RoutePlan
from routing.rollout import control
from slipway import experiment as experiments
from slipway.cli import route_status
from slipway.cli.app import app
from slipway.errors import SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings


def repository_of(project: dict[str, str]) -> Path:
    return Path(project["SLIPWAY_ROOT"]) / "model_repository"


def test_a_canary_from_start_to_promotion(slipway, project: dict[str, str]) -> None:
    run = slipway("route", "digits", "--canary", "2=10%", env=project)
    assert run.returncode == 0, run.stderr
    assert "stable version 1, version 2 10%" in run.stdout
    companion = json.loads((Path(project["SLIPWAY_ROOT"]) / ".slipway/run/companions/routing.json").read_text())
    assert companion["argv"][1:3] == ["-m", "routing.controller"]
    assert Path(companion["argv"][3]).is_file()

    wider = json.loads(slipway("route", "digits", "--canary", "2=30%", "--json", env=project).stdout)
    assert (wider["status"], wider["share"]) == ("running", 0.3)
    shown = json.loads(slipway("route", "digits", "--status", "--json", env=project).stdout)
    assert (shown["salt"], shown["seen"]) == (wider["salt"], None)
    table = slipway("route", "digits", env=project).stdout
    assert "step 1 of 1 at 30.00%" in table
    assert "nothing was seen of it yet" in table
    assert "running" in slipway("route", "--status", env=project).stdout

    done = slipway("route", "digits", "--promote", env=project)
    assert "version 2 answers all units" in done.stdout, done.stderr
    assert Repository(repository_of(project)).pointer("digits").stable == 2
    assert experiments.read(repository_of(project), "digits") is None


def test_a_shadow_and_its_end(slipway, project: dict[str, str]) -> None:
    assert "shadow version 3" in slipway("route", "digits", "--shadow", "3=50%", env=project).stdout
    found = experiments.read(repository_of(project), "digits")
    assert found is not None
    assert found.shadow is not None
    assert (found.shadow.version, found.shadow.buckets, found.arms) == (3, 5000, ())
    assert "stopped" in slipway("route", "digits", "--stop", env=project).stdout
    assert experiments.read(repository_of(project), "digits") is None


def test_what_was_seen_is_a_table(slipway, project: dict[str, str]) -> None:
    started = json.loads(slipway("route", "digits", "--canary", "2=10%", "--json", env=project).stdout)
    folder = Path(project["SLIPWAY_ROOT"]) / ".slipway/run/routing/seen"
    folder.mkdir(parents=True)
    arm = {
        "requests": 900, "errors": 9, "not_finite": 0, "answers": 900, "p50_ms": 3.0, "p95_ms": 5.0, "p99_ms": 8.0,
        "labelled": 0, "correct": 0, "outcomes": {},
    }  # fmt: skip
    seen = {
        "model": "digits",
        "experiment": started["experiment"],
        "time": time.time(),
        "arms": [{"arm": "stable", "version": 1, **arm}, {"arm": "canary", "version": 2, **arm}],
        "agreement": {"trials": 50, "hits": 49},
        "splits": [],
        "unreadable": {},
        "verdict": {"decision": "hold", "reasons": ["too little traffic"], "checks": [{"name": "errors", "ok": True}]},
        "problem": None,
    }
    (folder / "digits.json").write_text(json.dumps(seen))
    shown = slipway("route", "digits", "--status", env=project).stdout
    for text in ("9 (1.00%)", "90.00%", "verdict so far: hold", "too little traffic", "49 (98.00%) of 50 pairs"):
        assert text in shown
    assert "shadow" not in shown
    copies = {"version": 3, "copies": 40, "failures": {"NETWORK_FAILED": 4}, "agreement": {"trials": 36, "hits": 27}}
    copies["edge"] = {"sent": 50, "waiting": 2, "failed": 3, "dropped": 7}
    (folder / "digits.json").write_text(json.dumps(seen | {"time": time.time() - 60, "shadow": copies}))
    shown = slipway("route", "digits", env=project).stdout
    assert "no controller runs" in shown
    said = "agreement 27 (75.00%) of 36 pairs, failed 4 (10.00%) of 40 copies: NETWORK_FAILED 4"
    assert f"shadow version 3: {said}" in shown
    assert "50 copies sent, 2 wait for an answer, 3 failed; 7 more were dropped" in shown


def test_a_declared_file_is_shown_before_it_is_applied(slipway, project: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "config/routes.yaml"
    path.write_text("models:\n  digits:\n    canary: 2\n    steps: [5%, 50%]\n")
    asked = slipway("route", "apply", env=project)
    assert "+ steps: 5% for 300 s, 50% for 300 s" in asked.stdout
    assert asked.returncode != 0
    assert experiments.read(repository_of(project), "digits") is None

    assert slipway("route", "apply", "--yes", env=project).returncode == 0
    assert experiments.read(repository_of(project), "digits") is not None
    assert "running as declared" in slipway("route", "apply", "--yes", env=project).stdout
    path.write_text("models:\n  digits:\n    canary: 2\n    steps: [5%, 100%]\n")
    changed = json.loads(slipway("route", "apply", "--yes", "--json", env=project).stdout)
    assert changed["changes"][0]["lines"] == ["~ steps: 5% for 300 s, 50% for 300 s -> 5% for 300 s, 100% for 300 s"]

    slipway("route", "digits", "--abort", env=project)
    again = slipway("route", "apply", "--yes", env=project)
    assert "is not started again from a file" in again.stdout
    found = experiments.read(repository_of(project), "digits")
    assert found is None or found.arms == ()
    path.write_text("models: {}\n")
    assert "no model is declared" in slipway("route", "apply", env=project).stdout


def test_drift_is_reported_and_taken_back(
    monkeypatch: pytest.MonkeyPatch, project: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_ROOT", project["SLIPWAY_ROOT"])
    path = Path(project["SLIPWAY_ROOT"]) / ".slipway/run/routing/drift/digits.json"
    app(["route", "drift", "digits", "--version", "2", "--reason", "night pictures"], standalone_mode=False)
    said = json.loads(path.read_text())
    assert abs(said.pop("time") - time.time()) < 60
    assert said == {"version": 2, "drift": True, "reason": "night pictures"}
    app(["route", "drift", "digits", "--version", "2", "--over"], standalone_mode=False)
    assert json.loads(path.read_text())["drift"] is False
    assert "version 2 is reported to drift no more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["digits", "--canary", "9=10%"], "VERSION_NOT_FOUND", 4),
        (["digits", "--canary", "1=10%"], "ROUTES_INVALID", 3),
        (["digits", "--canary", "2=10"], "ROUTES_INVALID", 3),
        (["digits", "--canary", "2"], "ROUTES_INVALID", 3),
        (["digits", "--steps", "1%"], "ROUTES_INVALID", 3),
        (["digist", "--canary", "2=10%"], "MODEL_NOT_FOUND", 4),
        (["digits", "--canary", "2=10%", "--promote"], "ROUTES_INVALID", 3),
        (["digits", "--promote", "--abort"], "ROUTES_INVALID", 3),
        (["--promote"], "ROUTES_INVALID", 3),
        (["--canary", "2=10%"], "ROUTES_INVALID", 3),
        (["digits"], "EXPERIMENT_UNKNOWN", 4),
        (["digits", "--promote"], "EXPERIMENT_UNKNOWN", 4),
        (["digits", "--abort"], "EXPERIMENT_UNKNOWN", 4),
        (["../digits", "--abort"], "MODEL_NOT_FOUND", 4),
        (["apply", "nothing.yaml"], "ROUTES_INVALID", 3),
        (["feedback", "nothing.jsonl"], "FEEDBACK_INVALID", 3),
        (["drift", "digits", "--version", "9"], "VERSION_NOT_FOUND", 4),
        (["drift", "digits", "--version", "2", "--reason", "x" * 501], "DRIFT_INVALID", 3),
    ],
)
def test_errors_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, project: dict[str, str], arguments: list[str], code: str, exit_code: int
) -> None:
    """In this process; the next test shows one of them as a person sees it."""
    monkeypatch.setenv("SLIPWAY_ROOT", project["SLIPWAY_ROOT"])
    with pytest.raises(SlipwayError) as caught:
        app(["route", *arguments], standalone_mode=False)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code), str(caught.value)
    assert experiments.read(repository_of(project), "digits") is None


def test_a_second_rollout_is_refused_and_says_how_to_end_the_first(slipway, project: dict[str, str]) -> None:
    slipway("route", "digits", "--canary", "2=10%", env=project)
    run = slipway("route", "digits", "--canary", "3=10%", env=project)
    assert run.returncode == 3
    assert "error ROLLOUT_REFUSED:" in run.stderr
    assert "Traceback" not in run.stderr
    assert "--promote`, `--abort` or `--stop" in run.stderr


def test_a_rollout_that_cannot_be_read_is_a_row_beside_the_others(project: dict[str, str]) -> None:
    settings = Settings(root=Path(project["SLIPWAY_ROOT"]))
    control.start(settings, "digits", RoutePlan(canary=2, share=0.1))
    for stray, content in (("abroken", b"\xff"), ("zbroken", b"[]")):
        shutil.copytree(settings.repository / "digits", settings.repository / stray)
        (settings.repository / stray / "rollout.json").write_bytes(content)
    (settings.repository / "gone").mkdir()
    (settings.repository / "gone" / "rollout.json").write_text("{}")
    rows = {item["model"]: item for item in route_status.every(settings)}
    assert rows["digits"]["status"] == "running"
    codes = {name: row["error"]["code"] for name, row in rows.items() if row["status"] == "unreadable"}
    assert codes == {"abroken": "EXPERIMENT_INVALID", "zbroken": "EXPERIMENT_INVALID", "gone": "MODEL_NOT_FOUND"}
    route_status.print_list(list(rows.values()))


def test_while_it_holds_the_reasons_are_those_of_the_last_look(
    monkeypatch: pytest.MonkeyPatch, project: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_ROOT", project["SLIPWAY_ROOT"])
    app(["route", "digits", "--canary", "2", "--auto"], standalone_mode=False)
    path = repository_of(project) / "digits/rollout.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "status": "holding", "reasons": ["12 of 200 requests"]}))
    seen = {"model": "digits", "experiment": state["experiment"], "time": time.time()}
    verdict = {"decision": "hold", "reasons": ["150 of 200 requests"]}
    folder = Path(project["SLIPWAY_ROOT"]) / ".slipway/run/routing/seen"
    folder.mkdir(parents=True)
    (folder / "digits.json").write_text(json.dumps({**seen, "verdict": verdict}))
    capsys.readouterr()
    app(["route", "digits"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert shown.count("150 of 200 requests") == 1
    assert "it began to hold for: 12 of 200 requests" in shown
    app(["route", "digits", "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert (said["reasons"], said["began"]) == (["150 of 200 requests"], ["12 of 200 requests"])
    (folder / "digits.json").write_text(json.dumps({**seen, "problem": "no database"}))
    app(["route", "--status", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["rollouts"][0]["reasons"] == ["no database"]


def test_what_only_asks_leaves_the_controllers_settings(
    monkeypatch: pytest.MonkeyPatch, project: dict[str, str]
) -> None:
    def run(*arguments: str) -> None:
        app(["route", "digits", *arguments], standalone_mode=False)

    monkeypatch.setenv("SLIPWAY_ROOT", project["SLIPWAY_ROOT"])
    monkeypatch.setenv("SLIPWAY_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x")
    run("--canary", "2=10%")
    monkeypatch.delenv("SLIPWAY_DATABASE_URL")
    path = Path(project["SLIPWAY_ROOT"]) / ".slipway/run/routing/settings.json"
    before = path.read_text()
    run("--status")
    with pytest.raises(SlipwayError, match="uses another database") as caught:
        run("--canary", "2=20%")
    assert "secret" not in str(caught.value)
    assert path.read_text() == before
    run("--stop")
    run("--canary", "2=20%")
    assert "database_url" not in path.read_text()


def test_a_promotion_that_did_not_happen_is_an_error(monkeypatch: pytest.MonkeyPatch, project: dict[str, str]) -> None:
    monkeypatch.setenv("SLIPWAY_ROOT", project["SLIPWAY_ROOT"])
    app(["route", "digits", "--canary", "2=10%"], standalone_mode=False)
    Repository(repository_of(project)).set_pointer("digits", 3)
    with pytest.raises(SlipwayError, match="not promoted; observed stopped: the pointer was moved to version 3"):
        app(["route", "digits", "--promote"], standalone_mode=False)


def test_help_is_quick(slipway) -> None:
    """< 0.3 s on a quiet machine; the best of five, and twice that, for one that tests share."""
    assert "--canary" in slipway("route", "model", "--help").stdout
    times = []
    for _ in range(5):
        started = time.perf_counter()
        slipway("--help")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.6, (times, os.getloadavg())
