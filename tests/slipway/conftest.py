"""A project of three published versions of digits, for command lines that need no server."""

from pathlib import Path

import pytest

from slipway.repository import Repository
from tests.slipway.publishing import publication


@pytest.fixture
def project(tmp_path: Path) -> dict[str, str]:
    """The environment that names it."""
    (tmp_path / "config/models").mkdir(parents=True)
    repository = Repository(tmp_path / "model_repository")
    for content in (b"first", b"second", b"third"):
        repository.publish(publication(tmp_path / "files", content=content))
    return {"SLIPWAY_ROOT": str(tmp_path)}
