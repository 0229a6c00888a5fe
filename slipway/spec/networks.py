"""``networks`` and ``attributes``: models with more than one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from slipway.contract import HANDLERS, Attribute, Contract, Network, Normalise, Part, Postprocess
from slipway.errors import SpecInvalid
from slipway.spec.base import Section
from slipway.spec.formats import NETWORK_FILES, FormatName
from slipway.spec.input import InputSpec, NormaliseSpec, PostprocessSpec
from slipway.spec.source import SourceSpec
from slipway.spec.tasks import EmbeddingSpec

#: Height and width, pixels.
Size = tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]]
NAME = r"^[a-z][a-z0-9_-]{0,30}$"


class OwnFormats(Section):
    """What every network of a model with several has of its own: where it comes from and how it is exported."""

    source: SourceSpec
    normalise: NormaliseSpec = Field(default_factory=NormaliseSpec)
    formats: tuple[FormatName, ...] | None = Field(default=None, min_length=1, description="the model's unless set")
    serve: FormatName | None = Field(default=None, description="the model's unless set")
    max_batch_size: int | None = Field(default=None, ge=1, le=1024, description="serving.max_batch_size unless set")

    @model_validator(mode="after")
    def _serves_its_own(self) -> OwnFormats:
        if self.formats is not None and self.serve is not None and self.serve not in self.formats:
            raise ValueError(f"serve: {self.serve} is not among formats {list(self.formats)}")
        return self

    def exported(self, formats: tuple[FormatName, ...], serve: FormatName) -> tuple[tuple[FormatName, ...], FormatName]:
        """Formats and the served one, with the model's where this has none of its own."""
        own = self.formats or formats
        chosen = self.serve or (serve if serve in own else own[0])
        return (own if chosen in own else (*own, chosen)), chosen

    def network(self, model: str, name: str, serve: FormatName, largest: int) -> Network:
        """As the contract names it."""
        return Network(
            model=f"{model}.{name}.{serve}",
            format=serve,
            file=NETWORK_FILES[serve],
            max_batch_size=self.max_batch_size or largest,
        )


class NetworkSpec(OwnFormats):
    """One of several networks of a task; the task's handler calls it by its name and prepares its input."""

    sizes: tuple[Size, ...] = Field(
        min_length=1,
        description="[height, width] of its input; a side that differs among several is free, and all are tried",
    )
    colour: Literal["rgb", "bgr"] = "rgb"
    labels_file: str | None = Field(
        default=None, description="what its outputs mean, where they mean labels: one per line, taken as it stands"
    )

    def labels(self, root: Path) -> tuple[str, ...]:
        """The lines of ``labels_file``; raises SpecInvalid for an unreadable one."""
        if self.labels_file is None:
            return ()
        path = root / self.labels_file
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as problem:
            raise SpecInvalid(f"labels_file: {path} cannot be read", observed=problem) from problem
        return tuple(lines[:-1] if lines and not lines[-1] else lines)

    def part(self, name: str, network: Network, root: Path) -> Part:
        """As the contract holds it; raises SpecInvalid for unreadable labels."""
        height, width = (sides[0] if len(set(sides)) == 1 else 0 for sides in zip(*self.sizes, strict=True))
        normalise = Normalise(**self.normalise.model_dump())
        return Part(name, network, normalise, height, width, self.colour, self.labels(root))


class AttributeSpec(OwnFormats):
    """One more network for the same picture, or for the crop of everything that the model's own task finds."""

    on: Literal["image", "items"] = "items"
    task: Literal["classification", "embedding"] = "classification"
    margin: float = Field(default=0.0, ge=0, le=2, description="crops are enlarged by this part of their sides")
    input: InputSpec
    labels: tuple[str, ...] = Field(default=(), description="of a classification")
    postprocess: PostprocessSpec = Field(default_factory=PostprocessSpec)
    embedding: EmbeddingSpec = Field(default_factory=EmbeddingSpec)

    @model_validator(mode="after")
    def _labels_of_its_task(self) -> AttributeSpec:
        if (self.task == "classification") != bool(self.labels):
            raise ValueError("labels belong to a classification, and it needs them")
        if self.labels and self.postprocess.top_k > len(self.labels):
            raise ValueError(f"postprocess.top_k: there are {len(self.labels)} labels")
        return self

    def attribute(self, name: str, model: str, network: Network) -> Attribute:
        """As the contract holds it."""
        contract = Contract(
            model=model,
            task=self.task,
            preprocess=self.input.preprocess(),
            normalise=Normalise(**self.normalise.model_dump()),
            network=network,
            postprocess=Postprocess(**self.postprocess.model_dump()),
            labels=self.labels,
            handler=HANDLERS[self.task],
            settings=self.embedding.settings() if self.task == "embedding" else {},
        )
        return Attribute(name, self.on, contract, self.margin)
