"""A project to migrate into, photographs of digits as clients send them, and archives of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from slipway.settings import Settings
from tests.conftest import ROOT, Command
from tests.export.migrate import archives


@pytest.fixture(scope="session", autouse=True)
def _digits(slipway: Command) -> None:
    if not (archives.DIGITS / "base.safetensors").is_file():
        made = slipway("samples", "digits", timeout=600)
        assert made.returncode == 0, made.stderr


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory, _digits: None) -> Path:
    """Held-out digits in colour and larger than the network's input: TorchServe's handlers refuse grey files."""
    return archives.photographs(tmp_path_factory.mktemp("photographs"), step=60)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "root/config/models").mkdir(parents=True)
    return Settings(root=tmp_path / "root", triton_env=ROOT / ".venv-triton")


@pytest.fixture
def grey(tmp_path: Path, photographs: Path) -> Path:
    folder = tmp_path / "grey"
    folder.mkdir()
    for path in sorted(photographs.iterdir())[:2]:
        with Image.open(path) as image:
            image.convert("L").save(folder / path.name)
    return folder
