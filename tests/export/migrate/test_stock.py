"""What a stock handler of TorchServe would open is refused before TorchServe sees it, unless it is TorchScript."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.migrate.archive import Archive, read_archive
from export.migrate.stock import check_stock
from slipway.errors import MigrationRefused


class Means(nn.Module):
    """float[N, 3, H, W] -> float[N, 3]."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return images.mean((2, 3))


def script() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(Means().eval()), stream)
    return stream.getvalue()


def behind(head: bytes, content: bytes) -> bytes:
    """``head`` with the zip archive of ``content`` behind it, as a self-extracting program has it."""
    stream = io.BytesIO(head)
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "a") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return stream.getvalue()


def stock(folder: Path, name: str, content: bytes, config: str | None = None) -> Archive:
    (folder / "MAR-INF").mkdir(parents=True)
    model = {"modelName": "cat", "modelVersion": "1", "handler": "image_classifier", "serializedFile": name}
    if config is not None:
        (folder / "c.yaml").write_text(config, encoding="utf-8")
        model["configFile"] = "c.yaml"
    (folder / "MAR-INF/MANIFEST.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    (folder / name).write_bytes(content)
    return read_archive(folder, "cat.mar")


ELF = b"\x7fELF" + bytes(60)


@pytest.mark.parametrize(
    ("name", "content", "observed"),
    [
        ("model.so", behind(ELF, script()), ".so"),
        ("model.pt", behind(ELF, script()), "7f 45 4c 46"),
        ("model.so", script(), ".so"),
        ("model", script(), "(none)"),
        ("model.pt", ELF, "neither"),
        ("model.onnx", script(), "ONNX"),
    ],
)
def test_only_plain_torchscript_reaches_torchserve(tmp_path: Path, name: str, content: bytes, observed: str) -> None:
    with pytest.raises(MigrationRefused) as problem:
        check_stock(stock(tmp_path / "a", name, content), allow_code=False)
    assert observed in str(problem.value.observed)
    assert problem.value.expected and problem.value.fix


@pytest.mark.parametrize(
    "config", ["pt2: {export: {aot_compile: true}}", "pt2: {compile: {enable: true}}", "pt2: inductor", "pt2:"]
)
@pytest.mark.parametrize("allow_code", [False, True])
def test_a_config_that_compiles_or_loads_libraries_is_refused(tmp_path: Path, config: str, allow_code: bool) -> None:
    with pytest.raises(MigrationRefused, match=r"model-config\.yaml") as problem:
        check_stock(stock(tmp_path / "a", "model.pt", script(), config), allow_code)
    assert "pt2" in str(problem.value.observed)


def test_plain_torchscript_passes(tmp_path: Path) -> None:
    check_stock(stock(tmp_path / "a", "model.pt", script(), "batchSize: 4"), allow_code=False)
