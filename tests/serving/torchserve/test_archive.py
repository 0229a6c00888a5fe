"""Archives of published versions: what is in them, that they are the same every time, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from serving.torchserve.archive import Archives
from slipway.contract import Contract
from slipway.errors import VersionLoadFailed
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, photograph, publish

pytest.importorskip("model_archiver", reason="torch-model-archiver is not installed here")


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    repository = Repository(tmp_path / "repository")
    publish(repository, tmp_path / "one", Recipe(gain=4.0))
    publish(repository, tmp_path / "two", Recipe(gain=6.0, served="torchscript"))
    return Archives(repository, tmp_path / "store", cores=3)


def test_an_archive_has_everything(archives: Archives) -> None:
    path = archives.ensure("colour", 2)
    assert path.name == "colour-2.mar"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        config = yaml.safe_load(archive.read("model-config.yaml"))
        networks = json.loads(archive.read("networks.json"))
        assert archive.testzip() is None
    assert manifest["model"] == {
        "modelName": "colour",
        "modelVersion": "2",
        "handler": "slipway_handler.py",
        "configFile": "model-config.yaml",
    }
    assert config["minWorkers"] == config["maxWorkers"] == 2 and config["batchSize"] == 1
    assert config["handler"] == {"max_images": 32}
    assert networks == {"network": "networks/colour.torchscript/model.pt"}
    wanted = {
        "contract.json",
        "golden/input.png",
        "golden/expected.json",
        "handlers/torchserve.py",
        "slipway/contract.py",
    }
    assert wanted | set(networks.values()) <= set(names)
    assert not [name for name in names if "__pycache__" in name or name in ("handlers/triton.py", "manifest.json")]


def test_the_same_version_gives_the_same_bytes(archives: Archives, tmp_path: Path) -> None:
    first = archives.ensure("colour", 1).read_bytes()
    again = Archives(archives.repository, tmp_path / "another", cores=3).ensure("colour", 1)
    os.utime(archives.repository.path / "colour" / "1" / "contract.json", (1, 1))
    assert again.read_bytes() == first


def test_an_archive_is_made_once(archives: Archives) -> None:
    path = archives.ensure("colour", 1)
    before = path.stat()
    assert archives.ensure("colour", 1).stat() == before
    path.write_bytes(b"damaged")
    assert zipfile.is_zipfile(archives.ensure("colour", 1))
    more = Archives(archives.repository, archives.store, cores=3, response_timeout=7)
    with zipfile.ZipFile(more.ensure("colour", 1)) as archive:
        assert yaml.safe_load(archive.read("model-config.yaml"))["responseTimeout"] == 7
    assert [item.name for item in archives.store.iterdir()] == ["colour-1.mar"], "no temporary file is left"


def test_archives_of_versions_that_are_gone_are_swept(archives: Archives) -> None:
    path = archives.ensure("colour", 1)
    for name in ("colour-7.mar", "other-1.mar", ".colour-1.mar.k3x"):
        (archives.store / name).write_bytes(b"x")
    archives.sweep()
    assert list(archives.store.iterdir()) == [path]
    archives.discard("colour", 1)
    archives.discard("colour", 1)
    assert not path.exists()


def test_requests_are_batched_where_the_config_asks_for_a_delay(archives: Archives) -> None:
    path = archives.repository.path / "colour" / "config.pbtxt"
    text = path.read_text().replace("dynamic_batching {\n}", "dynamic_batching { max_queue_delay_microseconds: 4600 }")
    assert "4600" in text
    path.chmod(0o644)
    path.write_text(text.replace("count: 2", "count: 5"))
    with zipfile.ZipFile(archives.ensure("colour", 1)) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))
    assert (config["batchSize"], config["maxBatchDelay"], config["minWorkers"]) == (8, 5, 5)


def test_what_cannot_run_in_a_process_is_refused(archives: Archives) -> None:
    folder = archives.repository.path / "colour" / "1"
    values = json.loads((folder / "contract.json").read_text())
    values["network"] |= {"format": "tensorrt", "model": "colour.tensorrt", "file": "model.plan"}
    values = {key: value for key, value in values.items() if key not in ("schema", "hash")}
    made = Contract.from_dict({"schema": 1, "hash": _hash(values), **values})
    (folder / "contract.json").chmod(0o644)
    (folder / "contract.json").write_text(made.to_json())
    with pytest.raises(VersionLoadFailed, match=r"model\.plan.*serve"):
        archives.ensure("colour", 1)


def test_another_format_of_the_version_can_be_packed(archives: Archives) -> None:
    chosen = Archives(archives.repository, archives.store, cores=1, formats={"colour": "torchscript"})
    with zipfile.ZipFile(chosen.ensure("colour", 1)) as archive:
        assert json.loads(archive.read("networks.json")) == {"network": "networks/torchscript/model.pt"}
    for missing in ("openvino", "tensorrt"):
        with pytest.raises(VersionLoadFailed, match=missing):
            Archives(archives.repository, archives.store, cores=1, formats={"colour": missing}).ensure("colour", 1)


def test_the_code_inside_answers_without_the_project(archives: Archives, tmp_path: Path) -> None:
    """As in somebody else's TorchServe: only the unpacked archive is on the path, and its answer is the pipeline's."""
    with zipfile.ZipFile(archives.ensure("colour", 1)) as archive:
        archive.extractall(tmp_path / "unpacked")
    program = """
import json, sys
import handlers, slipway
import slipway_handler
from ts.context import Context, RequestProcessor
model, context = slipway_handler.Handler(), Context("colour", ".", {"model": {"modelVersion": "1"}}, 1, None, "")
model.initialize(context)
context.request_processor, context.request_ids = [RequestProcessor({})], {0: "id"}
(body,) = model.handle([{"body": open(sys.argv[1], "rb").read()}], context)
print(json.dumps([handlers.__file__, slipway.__file__, json.loads(body)]))
"""
    image = tmp_path / "coffee.png"
    image.write_bytes(photograph())
    unpacked = tmp_path / "unpacked"
    done = subprocess.run(
        [sys.executable, "-c", program, image], cwd=unpacked, env={"PYTHONPATH": str(unpacked)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    *places, answer = json.loads(done.stdout)
    assert all(Path(place).is_relative_to(unpacked) for place in places)
    contract = archives.repository.contract("colour", 1)
    file = archives.repository.path / "colour.onnx" / "1" / "model.onnx"
    record = Pipeline(contract, open_networks({"network": file}, contract)).run([photograph()])[0].record()
    assert answer == {"labels": list(record["labels"]), "scores": record["scores"].tolist()}


def _hash(values: dict) -> str:
    from slipway.contract import _contract

    return _contract(values).hash
