"""Archives from TorchServe, migrated and exported by the command line, answer on Triton as they did in TorchServe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from export.migrate import parity
from export.migrate.archive import read_archive
from export.migrate.asked import ask_original
from export.migrate.unpack import unpack
from handlers.geometry import place
from handlers.picture import Picture
from serving import control
from serving.client import PredictClient
from serving.ports import free_ports
from serving.torchserve.archive import Archives
from serving.triton.model_config import usable_cores
from slipway.repository import Repository
from slipway.settings import Settings
from tests.conftest import ROOT, Command
from tests.export.migrate import archives

pytestmark = pytest.mark.e2e
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Migrated:
    """A served project whose models all came from archives; ``samples`` are what their proofs were made on."""

    settings: Settings
    env: dict[str, str]
    packed: dict[str, Path]
    samples: list[Path]

    def client(self) -> PredictClient:
        return PredictClient(f"grpc://{control.status(self.settings).edge['grpc']}")

    def originals(self, name: str, folder: Path) -> list[bytes]:
        root = unpack(self.packed[name], folder / name)
        asked = ask_original(read_archive(root, name), self.samples, folder / f"{name}-asked")
        return [item.answer or b"" for item in asked]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory, slipway: Command) -> Iterator[Migrated]:
    if not (archives.DIGITS / "base.safetensors").is_file():
        assert slipway("samples", "digits", timeout=600).returncode == 0
    folder = tmp_path_factory.mktemp("migrated")
    root, inputs = folder / "root", folder / "inputs"
    (root / "config/models").mkdir(parents=True)
    inputs.mkdir()
    archives.photographs(inputs, step=60)
    packed = {
        "numbers": archives.classifier(folder / "c", name="numbers"),
        "ink": archives.segmenter(folder / "s"),
        "bright": archives.detector(folder / "d"),
        "own-digits": archives.own(folder / "o"),
    }
    ports = free_ports("127.0.0.1", 2)
    env = {
        "SLIPWAY_ROOT": str(root),
        "SLIPWAY_TRITON_ENV": str(ROOT / ".venv-triton"),
        "SLIPWAY_HTTP_PORT": str(ports[0]),
        "SLIPWAY_GRPC_PORT": str(ports[1]),
    }

    def migrate(name: str) -> None:
        leave = ["--allow-code"] if name == "own-digits" else []
        run = slipway(
            "migrate", packed[name], "--samples", inputs, "--count", 4, "--json", *leave, env=env, timeout=300
        )
        assert run.returncode == 0, run.stdout + run.stderr
        report = json.loads(run.stdout)
        assert (report["model"], report["same"], len(report["rows"])) == (name, True, 4)
        if report["version"] is None:
            run = slipway("export", name, env=env, timeout=300)
            assert run.returncode == 0, run.stdout + run.stderr

    # each takes one core for most of its time
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(migrate, packed))
    run = slipway("serve", "--detach", env=env, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    samples = sorted(inputs.iterdir())[:6]
    try:
        yield Migrated(Settings.load({**os.environ, **env}), env, packed, samples)
    finally:
        slipway("down", env=env)


def served(migrated: Migrated, name: str) -> list[dict[str, Any]]:
    with migrated.client() as client:
        found = client.predict(name, [path.read_bytes() for path in migrated.samples])
    assert all(item.error is None for item in found)
    return [dict(item.values) for item in found]


@pytest.mark.parametrize("name", ["numbers", "bright"])
def test_labels_and_boxes(migrated: Migrated, tmp_path: Path, name: str) -> None:
    contract = Repository(migrated.settings.repository).contract(name, 1)
    originals = migrated.originals(name, tmp_path)
    assert all(len(json.loads(answer)) for answer in originals)
    for path, original, record in zip(migrated.samples, originals, served(migrated, name), strict=True):
        row = parity.COMPARE[contract.task](path.name, original, record, {}, TOLERANCE)
        assert row.same, row


def test_masks(migrated: Migrated, tmp_path: Path) -> None:
    shape = Repository(migrated.settings.repository).contract("ink", 1).preprocess
    answers = zip(migrated.samples, migrated.originals("ink", tmp_path), served(migrated, "ink"), strict=True)
    for path, original, record in answers:
        placement = place(Picture.of(path.read_bytes(), shape).size, shape)
        row = parity.compare_masks(path.name, original, record, placement, TOLERANCE)
        assert row.same, row


def test_an_own_handler(migrated: Migrated, tmp_path: Path) -> None:
    """Four at a time, as its archive says; what it cannot read costs nobody else an answer."""
    originals = migrated.originals("own-digits", tmp_path)
    bodies = [path.read_bytes() for path in migrated.samples]
    with migrated.client() as client:
        found = client.predict("own-digits", [*bodies[:3], b"no image", *bodies[3:]])
    bad = found.pop(3)
    assert bad.error is not None
    assert bad.error.code == "HANDLER_FAILED"
    for path, original, item in zip(migrated.samples, originals, found, strict=True):
        assert item.error is None, path.name
        answer = item.values["answer"]
        text = answer[0] if isinstance(answer, list) else answer
        row = parity.compare_bytes(path.name, original, text.encode(), TOLERANCE)
        assert row.same, row
    digits = [json.loads(original)["digit"] for original in originals]
    right = [digit == path.name.split("_")[0] for digit, path in zip(digits, migrated.samples, strict=True)]
    assert sum(right) >= len(right) - 1


def test_an_archive_of_ours_becomes_the_same_version(migrated: Migrated, tmp_path: Path, slipway: Command) -> None:
    source = Repository(migrated.settings.repository)
    path = Archives(source, tmp_path / "store", cores=2).ensure("numbers", 1)
    env = {**migrated.env, "SLIPWAY_REPOSITORY": str(tmp_path / "other"), "SLIPWAY_STATE_DIR": str(tmp_path / "state")}
    run = slipway("migrate", path, "--json", env=env, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert (report["kind"], report["version"], report["same"]) == ("ours", 1, True)
    copy = Repository(tmp_path / "other")
    copy.verify("numbers", 1)
    assert copy.contract("numbers", 1) == source.contract("numbers", 1)
    for inside in ("numbers.onnx/1/model.onnx", "numbers.onnx/config.pbtxt", "numbers/1/golden/expected.json"):
        assert (copy.path / inside).read_bytes() == (source.path / inside).read_bytes()
