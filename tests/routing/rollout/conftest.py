"""A repository with three real versions of one model, and settings that name it."""

from pathlib import Path

import pytest

from slipway.repository import Repository
from slipway.settings import Settings
from tests.slipway.publishing import publication


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    repository = Repository(tmp_path / "model_repository")
    for number in range(3):
        repository.publish(publication(tmp_path / "files", content=str(number).encode()))
    (tmp_path / "run").mkdir()
    return Settings(root=tmp_path, state_dir=Path("run"))
