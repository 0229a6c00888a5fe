"""The benchmark of formats on the small model: real exports, real processes, every format a row or a reason."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from torch import nn

from export.formats.base import Artifact
from export.speed.formats import Options, bench_formats
from export.speed.workers import EAGER, Plan, Team
from slipway.errors import BenchmarkFailed, SpecInvalid
from tests.export import small_model

KEYS = {"format", "ms_per_image", "spread", "mb", "agreement"}


class Branching(small_model.SmallCnn):
    """Asks what is in the images: a trace takes one way, a program cannot be made of it."""

    def forward(self, images):
        return super().forward(images) if images.sum() > -1e9 else super().forward(-images)


def branching(classes: int = len(small_model.LABELS)) -> nn.Module:
    return Branching(classes)


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "export.speed.worker" in child.cmdline()]


@pytest.fixture
def pixels(reference, tmp_path) -> Path:
    path = tmp_path / "pixels.npy"
    np.save(path, reference.pixels)
    return path


def plan(artifact: Artifact, pixels: Path) -> Plan:
    return Plan(artifact.format, str(pixels), path=str(artifact.path))


def test_rows_and_reasons(spec, settings, tmp_path):
    source = spec.source.model_copy(update={"factory": f"{__name__}:branching"})
    told = []
    report = bench_formats(
        spec.model_copy(update={"source": source}),
        settings,
        Options(("torchscript", "torch-export"), batches=(1, 4), seconds=0.1, gates=True),
        told.append,
    )
    assert [row.format for row in report.rows] == [EAGER, "torchscript"]
    (missing,) = report.unavailable
    assert missing.format == "torch-export"
    assert "EXPORT_FAILED" in missing.reason
    for row in report.to_dict()["rows"]:
        assert row.keys() >= KEYS
        assert 0 < row["p10"] <= row["ms_per_image"] <= row["p90"]
        assert row["spread"] == pytest.approx(row["p90"] - row["p10"])
        assert row["batch_4"]["ms_per_image"] > 0
        assert row["agreement"] == 1.0
    eager, script = report.rows
    assert (eager.gates, script.gates) == ("", "passed")
    assert eager.figures[1].speedup.median == 1.0
    assert script.sqnr_db > 60
    assert not workers()
    assert not list(settings.state_dir.glob("export-*"))
    assert "measure 2 at batch 4" in {event.step for event in told if event.state == "finished"}

    report.machine = {"CPU": "of the test"}
    folder = report.write(tmp_path / "results")
    assert {path.name for path in folder.iterdir()} == {"summary.json", "table.md"}
    written = json.loads((folder / "summary.json").read_text())
    assert [row["format"] for row in written["rows"]] == [EAGER, "torchscript"]
    table = (folder / "table.md").read_text()
    assert "| torchscript |" in table and "| torch-export | EXPORT_FAILED" in table and "of the test" in table
    lengths = {line.count("|") for line in table.splitlines()[:4]}
    assert len(lengths) == 1, "every row has all columns"
    assert str(tmp_path) not in table + json.dumps(written["rows"])


def test_what_cannot_be_measured_is_refused_before_anything_is_made(spec, settings):
    with pytest.raises(SpecInvalid, match="did you mean torchscript"):
        bench_formats(spec, settings, Options(("torchscrip",)))
    with pytest.raises(BenchmarkFailed, match="no batch of 9"):
        bench_formats(spec, settings, Options(batches=(1, 9)))
    with pytest.raises(BenchmarkFailed, match="seconds"):
        Options(seconds=0)
    with pytest.raises(BenchmarkFailed, match="batches"):
        Options(batches=())


def test_a_team_works_at_once_and_ends(artifacts, pixels, tmp_path):
    with Team(plan(artifacts["onnx"], pixels), 2, tmp_path / "team") as team:
        turn = team.turn(2, 0.3)
        members = workers()
        assert len(members) == 2
    assert turn.images >= 4
    # both ran for the same third of a second, one after the other would have taken two
    assert turn.seconds < 0.6
    assert not workers()
    assert not any(member.is_running() for member in members)


def test_a_team_says_why_it_cannot_begin(artifacts, pixels, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(artifacts["onnx"].path.read_bytes()[:500])
    with (
        pytest.raises(BenchmarkFailed) as failure,
        Team(plan(Artifact("onnx", broken, 0.0), pixels), 1, tmp_path / "t"),
    ):
        pytest.fail("it is not ready")
    assert "cannot be opened" in str(failure.value.observed)
    assert not workers()


def test_the_command_prints_rows_as_json(project, spec, tmp_path, slipway):
    models = tmp_path / "config" / "models"
    models.mkdir(parents=True)
    values = spec.model_dump(mode="json", exclude_unset=True)
    values["samples"] = str(project / spec.samples)
    values["source"]["checkpoint"] = str(project / "weights.pt")
    (models / "small.yaml").write_text(yaml.safe_dump(values))
    asked = ("--model", "small", "--formats", "torchscript", "--batch", "2", "--seconds", "0.1", "--json")
    done = slipway("bench", "formats", *asked, env={"SLIPWAY_ROOT": str(tmp_path)}, timeout=300)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [row["format"] for row in printed["rows"]] == [EAGER, "torchscript"]
    assert all(row.keys() >= KEYS and row["batch"] == 2 for row in printed["rows"])
    assert printed["machine"]["CPU"]
    (folder,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert json.loads((folder / "summary.json").read_text()) == printed
    refused = slipway("bench", "formats", "--model", "small", "--batch", "two", env={"SLIPWAY_ROOT": str(tmp_path)})
    assert refused.returncode == 2
    assert "'two' is no number of images" in refused.stderr
