"""Who answers about an image: this process, or a served engine. Every voice gives JSON-ready records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.fields import Field, plain
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from handlers.placement import fused_networks
from serving.client import PredictClient
from slipway.errors import ImageError, SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import load_model_spec

#: What one image gets: its record, or the error that was answered instead.
Said = Mapping[str, Any] | SlipwayError
#: Asks about some images of one published version, in order.
Voice = Callable[["Published", Sequence[bytes]], list[Said]]

IN_PROCESS = "in process"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


@dataclass(frozen=True)
class Published:
    """The stable version of a model. ``folder``: its directory; ``fields``: what its records consist of."""

    model: str
    version: int
    task: str
    folder: Path
    pipeline: Pipeline

    @property
    def fields(self) -> tuple[Field, ...]:
        """Of the task and its attributes."""
        return self.pipeline.task.fields

    @classmethod
    def of(cls, repository: Repository, model: str) -> Published:
        """Opens its networks in this process, one thread each. Raises ModelNotFound, NetworkUnreadable, ..."""
        version = repository.pointer(model).stable
        folder = repository.version_dir(model, version)
        contract = repository.contract(model, version)
        pipeline = Pipeline(contract, open_networks(fused_networks(folder, contract), contract))
        return cls(model, version, contract.task, folder, pipeline)


def in_process(published: Published, images: Sequence[bytes]) -> list[Said]:
    """One image at a time: nobody's neighbours in a batch are part of the answer."""
    found: list[Said] = []
    for image in images:
        (answer,) = published.pipeline.run([image])
        found.append(answer if isinstance(answer, ImageError) else plain(published.fields, answer.record()))
    return found


def of_client(client: PredictClient, batch: int = 4) -> Voice:
    """A served engine, asked about ``batch`` images per request; a request that fails is every image's error."""

    def ask(published: Published, images: Sequence[bytes]) -> list[Said]:
        found: list[Said] = []
        for start in range(0, len(images), batch):
            group = list(images[start : start + batch])
            try:
                answers = client.predict(published.model, group, version=published.version)
                found += [answer.values if answer.error is None else answer.error for answer in answers]
            except SlipwayError as error:
                found += [error] * len(group)
        return found

    return ask


def sample_images(settings: Settings, published: Published, most: int = 0) -> list[Path]:
    """The held-out images of the model's specification; of a model that has none here, its golden image.

    ``most``: so many, spread over all of them, which are in the order of names and so often of labels; 0: all.
    Raises SpecInvalid for a specification that cannot be read."""
    folder = _samples(settings, published.model)
    files = _images(folder) if folder is not None and folder.is_dir() else []
    files = files or sorted((published.folder / "golden").glob("input.*"))
    if not most or len(files) <= most:
        return files
    return [files[index * len(files) // most] for index in range(most)]


def _samples(settings: Settings, model: str) -> Path | None:
    if not (settings.models_dir / f"{model}.yaml").is_file():
        return None
    samples = load_model_spec(model, settings).samples
    return None if samples is None else settings.root / samples


def _images(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.suffix.lower() in _SUFFIXES and item.is_file())
