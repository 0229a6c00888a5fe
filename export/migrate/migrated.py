"""The migrated model as its specification describes it, before any export: what the archive is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from export import sources
from export.migrate import parity
from export.migrate.parity import Record, Row
from export.wrap import eager_network, wrap
from handlers.geometry import place
from handlers.picture import Picture
from handlers.pipeline import Pipeline
from slipway.errors import ImageError
from slipway.settings import Settings
from slipway.spec import ModelSpec


class MigratedModel:
    """The pipeline that the written specification declares, around the network that its source names."""

    def __init__(self, spec: Path, settings: Settings) -> None:
        """Raises SpecInvalid and SourceInvalid."""
        read = ModelSpec.load(spec)
        self._contract = read.contract(settings.root)
        shape = self._contract.preprocess
        loaded = sources.load(
            read.one_source,
            settings.root,
            self._contract.classes,
            settings.cache_dir,
            input_size=(shape.height, shape.width),
            activation=self._contract.postprocess.activation,
        )
        self._pipeline = Pipeline(self._contract, eager_network(wrap(loaded.module, self._contract.normalise)))

    def answer(self, encoded: bytes) -> tuple[bytes, Record] | str:
        """The image and its record, or why there is none."""
        (found,) = self._pipeline.run([encoded])
        return str(found) if isinstance(found, ImageError) else (encoded, found.record())

    def compare(
        self, name: str, original: bytes, answer: tuple[bytes, Record], names: Mapping[str, str], tolerance: float
    ) -> Row:
        """Of one sample; ``original``: what the archive's handler answered."""
        encoded, record = answer
        if self._contract.task == "segmentation":
            picture = Picture.of(encoded, self._contract.preprocess)
            placement = place(picture.size, self._contract.preprocess)
            return parity.compare_masks(name, original, record, placement, tolerance)
        return parity.COMPARE[self._contract.task](name, original, record, names, tolerance)
