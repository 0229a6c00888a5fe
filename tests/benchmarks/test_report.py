import csv
import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchmarks.measures import Round
from benchmarks.options import Options
from benchmarks.report import COLUMNS, Report
from benchmarks.subject import Subject
from slipway.errors import BenchmarkFailed

SUBJECT = Subject(
    model="colours",
    version=2,
    placement="fused",
    format="onnx",
    contract=Path("/somewhere/private/contract.json"),
    network=Path("/somewhere/private/model.onnx"),
    edge_http="127.0.0.1:8000",
    edge_grpc="127.0.0.1:8001",
    triton_grpc="127.0.0.1:8002",
    pids={"triton": 1, "envoy": 2},
)
SERVED = {"triton": 0.9, "envoy": 0.1, "client": 0.2}


def report(errors=None, images=90):
    rounds = []
    for number in (1, 2):
        rounds.append(Round("raw", number, 1.0, 100, 100, 100.0, [10.0] * 100, {"raw": 1.0}))
        for arm in ("grpc", "http"):
            latencies = [20.0 + step for step in range(images)]
            rounds.append(Round(arm, number, 1.0, 90, images, float(images), latencies, SERVED, errors or {}))
    points = {arm: [(step / 90, 20.0 + step) for step in range(images)] for arm in ("grpc", "http")}
    options = Options(model="colours", seconds=2, rounds=2)
    return Report(SUBJECT, options, rounds, points, {"CPU": "a <fast> one"}, datetime.now(timezone.utc))


def test_rows_have_figures_against_raw():
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in report().rows()}
    assert rows["raw"]["of raw"] == "100%"
    assert rows["raw"]["CPU ms/image"] == "10.0"
    assert rows["grpc"]["of raw"] == "90.0%"
    assert rows["grpc"]["CPU ms/image"] == "11.1"
    assert rows["grpc"]["client"] == "2.22"
    assert rows["grpc"]["p50 ms"] == "64.5"


def test_files_hold_the_figures_and_no_paths(tmp_path):
    folder = report().write(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["arms"]["http"]["of_raw"] == pytest.approx({"total": 0.9, "lowest": 0.9, "highest": 0.9})
    assert summary["arms"]["grpc"]["cpu_ms_per_image"]["envoy"] == pytest.approx(1000 * 0.2 / 180)
    with (folder / "rounds.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], row["round"]) for row in rows][:4] == [
        ("raw", "1"),
        ("grpc", "1"),
        ("http", "1"),
        ("raw", "2"),
    ]
    assert float(rows[1]["images_per_second"]) == 90.0
    assert float(rows[1]["p50_ms"]) == pytest.approx(64.5)
    with (folder / "requests.csv").open() as stream:
        assert sum(1 for _ in stream) == 1 + 180
    for path in folder.iterdir():
        assert "/somewhere/private" not in path.read_text()


def test_page_needs_nothing_else_and_escapes(tmp_path):
    page = (report().write(tmp_path) / "report.html").read_text()
    assert page.count('src="data:image/svg+xml;base64,') == 3
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "a &lt;fast&gt; one" in page
    assert "grpc 90.0%" in page


def test_failures_are_shown(tmp_path):
    page = (report(errors={"503 <no>": 3}).write(tmp_path) / "report.html").read_text()
    assert "Failed requests" in page
    assert "503 &lt;no&gt;" in page


def test_an_arm_without_one_answer_still_makes_a_report(tmp_path):
    folder = report(errors={"down": 90}, images=0).write(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["arms"]["grpc"]["milliseconds"]["p50"] is None
    assert "down" in (folder / "report.html").read_text()


@pytest.mark.parametrize("wrong", [{"arms": ("grpc",)}, {"arms": ("raw", "smtp")}, {"batch": 0}, {"images": "none"}])
def test_options_are_checked(wrong):
    with pytest.raises(BenchmarkFailed, match="cannot be measured"):
        Options(**wrong)
