from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.images import write_images
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, publish


@dataclass(frozen=True)
class Small:
    """A published version of a tiny real model, and pictures to ask it about."""

    contract: Path
    network: Path
    images: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    root, images = folder / "repository", folder / "images"
    for created in (root, images):
        created.mkdir()
    version = str(publish(Repository(root), folder / "scratch", Recipe()))
    write_images("mixed", images)
    return Small(root / "colour" / version / "contract.json", root / "colour.onnx" / version / "model.onnx", images)
