"""An archive of ours runs nothing of its own: its handler is the task's, its files are what their names say."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from export.migrate.archive import OUR_HANDLER
from export.migrate.run import Wish, migrate
from handlers.networks import open_network
from slipway.contract import HANDLERS, Attribute, Contract, Network, Postprocess, Preprocess
from slipway.errors import MigrationRefused, NetworkUnreadable
from slipway.settings import Settings


def contract(network: Network, **more: Any) -> Contract:
    shape, post = Preprocess(8, 8), Postprocess(top_k=1)
    return Contract("digits", "classification", shape, network, labels=("a", "b"), postprocess=post, **more)


def onnx_file(file: str = "model.onnx") -> Network:
    return Network("digits.onnx", "onnx", file)


def ours(path: Path, described: Contract, files: dict[str, bytes]) -> Path:
    """An archive of ours with every network of the contract in the first of ``files``."""
    manifest = {"model": {"modelName": "digits", "modelVersion": "1", "handler": OUR_HANDLER}}
    named = dict.fromkeys(described.networks(), next(iter(files)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("contract.json", described.to_json())
        archive.writestr("networks.json", json.dumps(named))
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class Means(nn.Module):
    """uint8[N, H, W, 3] -> float[N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(3, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return pixels.float().mean((1, 2)) @ self.weights


class Mark:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def crafted(folder: Path, mark: Path) -> bytes:
    """A torch.export program whose weights are a pickle that leaves a mark."""
    program = torch.export.export(Means(), (torch.zeros(1, 8, 8, 3, dtype=torch.uint8),))
    torch.export.save(program, folder / "whole.pt2")
    with zipfile.ZipFile(folder / "whole.pt2") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (config,) = [name for name in content if name.endswith("weights_config.json")]
    values = json.loads(content[config])
    for entry in values["config"].values():
        entry["use_pickle"] = True
        (weights,) = [name for name in content if name.endswith(entry["path_name"])]
        content[weights] = pickle.dumps(Mark(mark))
    content[config] = json.dumps(values).encode()
    with zipfile.ZipFile(folder / "crafted.pt2", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return (folder / "crafted.pt2").read_bytes()


def test_a_pickled_program_is_not_opened_by_its_suffix_either(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = crafted(tmp_path, mark)
    pixels = np.full((1, 8, 8, 3), 90, np.uint8)
    assert open_network(tmp_path / "whole.pt2")(pixels) == pytest.approx(270)
    renamed = io.BytesIO()  # torch reads the weights of every model in the archive
    with zipfile.ZipFile(io.BytesIO(program)) as source, zipfile.ZipFile(renamed, "w") as target:
        for name in source.namelist():
            target.writestr(name.replace("model_weights_config", "other_weights_config"), source.read(name))
    for content in (program, renamed.getvalue()):
        (tmp_path / "crafted.pt2").write_bytes(content)
        with pytest.raises(NetworkUnreadable, match="pickled"):
            open_network(tmp_path / "crafted.pt2")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx", "model.pt"])
@pytest.mark.parametrize("allow_code", [False, True])
def test_an_exported_program_is_never_opened(tmp_path: Path, settings: Settings, name: str, allow_code: bool) -> None:
    mark = tmp_path / "mark"
    program = crafted(tmp_path, mark)
    for number, network in enumerate(
        (
            onnx_file("model.pt2"),
            onnx_file(),
            Network("digits.torchscript", "torchscript", "model.pt"),
            Network("digits.torchscript", "torchscript", "model.pt2"),
            Network("digits.torch-export", "torch-export", "model.pt2"),
        )
    ):
        archive = ours(tmp_path / f"{number}.mar", contract(network), {f"networks/x/{name}": program})
        # a file that says model.onnx goes to the ONNX runtime, which does not read it
        with pytest.raises((MigrationRefused, NetworkUnreadable)):
            migrate(Wish(archive, allow_code=allow_code), settings)
        assert not mark.exists()


def test_a_handler_that_is_not_the_tasks_is_not_imported(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slipway_hostile.py").write_text(f"__import__('os').mkdir({str(tmp_path / 'mark')!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    inner = contract(onnx_file(), handler="slipway_hostile:Task")
    cases = [
        contract(onnx_file(), handler="os:system"),
        contract(onnx_file(), handler="slipway_hostile:Task"),
        contract(onnx_file(), handler=HANDLERS["embedding"]),
        contract(onnx_file(), attributes=(Attribute("more", "image", inner),)),
        Contract("digits", "archive", Preprocess(0, 0), onnx_file(), (), handler="handlers.archived:Archived"),
    ]
    for number, described in enumerate(cases):
        archive = ours(tmp_path / f"{number}.mar", described, {"networks/x/model.onnx": b""})
        with pytest.raises(MigrationRefused, match="another handler") as problem:
            migrate(Wish(archive), settings)
        assert problem.value.observed and problem.value.expected
    assert not (tmp_path / "mark").exists()


def test_an_honest_archive_still_becomes_a_version(tmp_path: Path, settings: Settings) -> None:
    torch.jit.script(Means().eval()).save(str(tmp_path / "model.pt"))
    image = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(image, "PNG")
    record = {"labels": ["a"], "scores": [0.5]}
    files = {
        "networks/x/model.pt": (tmp_path / "model.pt").read_bytes(),
        "golden/input.png": image.getvalue(),
        "golden/expected.json": json.dumps({"record": record}).encode(),
    }
    network = Network("digits.torchscript", "torchscript", "model.pt")
    found = migrate(Wish(ours(tmp_path / "a.mar", contract(network), files)), settings)
    assert (found.same, found.version) == (True, 1)
