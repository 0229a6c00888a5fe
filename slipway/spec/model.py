"""ModelSpec: what a person writes in ``config/models/<name>.yaml`` about one public model, checked in full.

A mistake is reported with file, line and key. The spec says where the trained model comes from, how images reach it,
which formats are exported, which gates they must pass and how the model is served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from slipway.contract import (
    ATTRIBUTES,
    HANDLERS,
    ONLY,
    TASKS_OF_PARTS,
    TASKS_WITH_LABELS,
    Attribute,
    Contract,
    Network,
    Normalise,
    Part,
    Postprocess,
    Preprocess,
)
from slipway.errors import SpecInvalid, SpecNotFound
from slipway.settings import Settings
from slipway.spec.base import Section
from slipway.spec.calibration import CalibrationSpec
from slipway.spec.formats import NETWORK_FILES, FormatName, format_names
from slipway.spec.gates import GatesSpec
from slipway.spec.input import InputSpec, LabelsSpec, NormaliseSpec, PostprocessSpec
from slipway.spec.int8 import Int8Spec
from slipway.spec.networks import NAME, AttributeSpec, NetworkSpec
from slipway.spec.optimise import OptimiseStep
from slipway.spec.serving import ServingSpec
from slipway.spec.source import SourceSpec
from slipway.spec.tasks import DetectionSpec, EmbeddingSpec, FacesSpec, OcrSpec, SegmentationSpec, TaskSection
from slipway.spec.tensorrt import TensorrtSpec
from slipway.yaml_file import YamlFile

T = TypeVar("T")


class ModelSpec(Section):
    """One public model: everything that ``slipway export`` needs."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="lower case; dots are for its networks")
    task: Literal["classification", "detection", "faces", "ocr", "embedding", "segmentation"] = "classification"
    source: SourceSpec | None = Field(default=None, description="of a task with one network")
    input: InputSpec | None = Field(default=None, description="of a task with one network; of others only its limits")
    normalise: NormaliseSpec = Field(default_factory=NormaliseSpec)
    labels: tuple[str, ...] | LabelsSpec = Field(default=(), description="of classification, detection, segmentation")
    postprocess: PostprocessSpec = Field(default_factory=PostprocessSpec)
    detection: DetectionSpec = Field(default_factory=DetectionSpec)
    faces: FacesSpec = Field(default_factory=FacesSpec)
    ocr: OcrSpec = Field(default_factory=OcrSpec)
    embedding: EmbeddingSpec = Field(default_factory=EmbeddingSpec)
    segmentation: SegmentationSpec = Field(default_factory=SegmentationSpec)
    networks: dict[Annotated[str, Field(pattern=NAME)], NetworkSpec] = Field(
        default_factory=dict, description="of a task with several networks (faces, ocr), by the names it calls them by"
    )
    attributes: dict[Annotated[str, Field(pattern=NAME)], AttributeSpec] = Field(
        default_factory=dict, description="further networks, on the picture or on each item that the task finds"
    )
    formats: tuple[FormatName, ...] = Field(default=("onnx", "torchscript", "torch-export"), min_length=1)
    serve: FormatName = "onnx"
    samples: str = Field(description="directory of real images; <label>_<index>.png|jpg when labelled")
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec)
    int8: Int8Spec = Field(default_factory=Int8Spec)
    optimise: tuple[OptimiseStep, ...] = Field(default=(), description="steps between loading and exporting")
    gates: GatesSpec = Field(default_factory=GatesSpec)
    serving: ServingSpec = Field(default_factory=ServingSpec)
    tensorrt: TensorrtSpec = Field(default_factory=TensorrtSpec)

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if len(set(self.formats)) != len(self.formats):
            raise ValueError(f"formats: one stands twice in {list(self.formats)}")
        if self.serve not in self.formats:
            raise ValueError(f"serve: {self.serve} is not among formats {list(self.formats)}")
        if self.serve not in NETWORK_FILES:
            raise ValueError(f"serve: {self.serve} cannot be served; choose one of {sorted(NETWORK_FILES)}")
        if self.serve.startswith("tensorrt") and self.serving.placement == "fused":
            raise ValueError(f"serve: {self.serve} runs in Triton's own backend: set serving.placement to separate")
        for name in self.serving.networks or ():
            if name not in self.formats or name not in NETWORK_FILES:
                raise ValueError(f"serving.networks: {name} is not a served format of this model")
        self._check_speed()
        self._check_task()
        if isinstance(self.labels, tuple) and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label stands twice")
        return self

    def _check_task(self) -> None:
        several = self.task in TASKS_OF_PARTS
        if several != bool(self.networks) or several == (self.source is not None) or not (several or self.input):
            wanted = "networks, and no source" if several else "source and input, and no networks"
            raise ValueError(f"task: {self.task} needs {wanted}")
        if (self.task in TASKS_WITH_LABELS) != bool(self.labels):
            raise ValueError(f"labels: {self.task} has {'none' if self.labels else 'to have some'}")
        for name in ("detection", "faces", "ocr", "embedding", "segmentation"):
            own: TaskSection = getattr(self, name)
            if name != self.task and own != type(own)():
                raise ValueError(f"{name}: the task is {self.task}")
        if (self.networks or self.attributes) and self.optimise:
            raise ValueError("optimise: not for a model with several networks")
        if both := self.networks.keys() & self.attributes.keys():
            raise ValueError(f"attributes: {', '.join(sorted(both))} is among networks too")

    def _check_speed(self) -> None:
        speed = self.gates.speed
        named = () if speed is None else (*(speed.formats or ()), speed.against)
        for name in named:
            if name not in (*self.formats, "eager", "published"):
                raise ValueError(f"gates.speed names {name}, which is not among formats {list(self.formats)}")

    @classmethod
    def load(cls, path: Path) -> ModelSpec:
        """Reads one YAML file; raises SpecInvalid that names file, line and key of every mistake."""
        file = YamlFile(path, SpecInvalid)
        try:
            return cls.model_validate(file.values)
        except ValidationError as problem:
            raise file.refuse(problem, cls) from problem

    def changed(self, changes: Sequence[str]) -> ModelSpec:
        """A copy with ``KEY=VALUE`` changes: dotted keys, YAML values, for example ``source.arguments.width=64``."""
        values = self.model_dump(mode="json", exclude_unset=True)
        for change in changes:
            key, equals, text = change.partition("=")
            if not equals or not key:
                raise SpecInvalid("not a change", observed=change, expected="KEY=VALUE, for example serve=torchscript")
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as problem:
                raise SpecInvalid(f"{key}: not a YAML value", observed=text, fix="quote it") from problem
            _set(values, key.split("."), value)
        try:
            return type(self).model_validate(values)
        except ValidationError as problem:
            item = problem.errors()[0]
            key = ".".join(str(part) for part in item["loc"])
            text = item["msg"].removeprefix("Value error, ")
            raise SpecInvalid(f"{key}: {text}" if key else text, observed=", ".join(changes) or None) from problem

    def only(self, names: Sequence[str]) -> ModelSpec:
        """A copy that exports just these formats; raises SpecInvalid for an unknown one.

        It serves the format it served before where that is among them, else the first that can be served; where none
        can, ``serve`` stays, and such a copy is good for a dry run alone."""
        formats = format_names(names)
        servable = [name for name in formats if name in NETWORK_FILES]
        serve = self.serve if self.serve in formats or not servable else servable[0]
        return self._with_formats(formats, serve)

    def served_as(self, asked: str) -> ModelSpec:
        """A copy that serves this format, and exports it beside the others. Raises SpecInvalid when it cannot."""
        (name,) = format_names([asked])
        if name not in NETWORK_FILES:
            raise SpecInvalid(
                f"{self.model}: {name} cannot be served", expected=f"one of {', '.join(sorted(NETWORK_FILES))}"
            )
        return self._with_formats(tuple(dict.fromkeys((*self.formats, name))), name).changed(())

    def _with_formats(self, formats: tuple[FormatName, ...], serve: FormatName) -> ModelSpec:
        networks = self.serving.networks
        if networks is not None:
            networks = tuple(name for name in networks if name in formats)
        serving = self.serving.model_copy(update={"networks": networks})
        return self.model_copy(update={"formats": formats, "serve": serve, "serving": serving})

    @property
    def served_networks(self) -> tuple[str, ...]:
        """Formats whose networks are loaded for direct calls: ``serving.networks``, else the one that is served."""
        return self.serving.networks if self.serving.networks is not None else (self.serve,)

    def network_model(self, format_name: str) -> str:
        """Name of the repository model that holds a format's network, for example ``digits.onnx``."""
        return f"{self.model}.{format_name}"

    def label_names(self, root: Path) -> tuple[str, ...]:
        """The labels in the order of the network's outputs; raises SpecInvalid for an unreadable or odd file."""
        if isinstance(self.labels, tuple):
            return self.labels
        if self.labels.count is not None:
            digits = max(4, len(str(self.labels.count - 1)))
            return tuple(f"class_{index:0{digits}d}" for index in range(self.labels.count))
        return _read_labels(root / str(self.labels.file))

    @property
    def one_source(self) -> SourceSpec:
        """``source``; raises SpecInvalid for a model with several networks."""
        return self.of_one(self.source, "source")

    @property
    def one_input(self) -> InputSpec:
        """``input``; raises SpecInvalid for a model with several networks."""
        return self.of_one(self.input, "input")

    @property
    def sources(self) -> dict[str, SourceSpec]:
        """Where every network comes from, by the contract's names (slipway.contract.Contract.networks)."""
        own = {ONLY: self.source} if self.source is not None else {}
        parts = {name: item.source for name, item in self.networks.items()}
        return own | parts | {f"{ATTRIBUTES}/{name}": item.source for name, item in self.attributes.items()}

    def without_places(self) -> ModelSpec:
        """A copy whose sources do not say where their files lie, which makes no other model."""
        changes: dict[str, Any] = {"source": self.source and self.source.without_place()}
        for key in ("networks", "attributes"):
            items: dict[str, NetworkSpec | AttributeSpec] = getattr(self, key)
            changes[key] = {
                name: item.model_copy(update={"source": item.source.without_place()}) for name, item in items.items()
            }
        return self.model_copy(update=changes)

    def of_one(self, value: T | None, key: str) -> T:
        """``value``; where that is None, raises SpecInvalid: ``key`` belongs to models with one network."""
        if value is None:
            raise SpecInvalid(
                f"{self.model}: this is for models with one network",
                observed=f"networks {', '.join(self.networks)}",
                expected=key,
                fix="write a specification of the one network that it is about",
            )
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The task's own section, as the contract holds it; empty for a classification."""
        section = getattr(self, self.task, None)
        return section.settings() if isinstance(section, TaskSection) else {}

    def contract(self, root: Path) -> Contract:
        """The contract of this spec; hashed, and the same for every version until the spec changes."""
        labels = self.label_names(root)
        if self.task == "classification" and self.postprocess.top_k > len(labels):
            raise SpecInvalid(
                f"{self.model}: postprocess.top_k exceeds the labels",
                observed=self.postprocess.top_k,
                expected=f"at most {len(labels)}",
            )
        return Contract(
            model=self.model,
            task=self.task,
            preprocess=Preprocess(0, 0) if self.input is None else self.input.preprocess(),
            normalise=Normalise(**self.normalise.model_dump()),
            network=self._parts(root)[0].network if self.networks else self._network(),
            postprocess=Postprocess(**self.postprocess.model_dump()),
            labels=labels,
            handler=HANDLERS[self.task],
            parts=self._parts(root),
            attributes=self._attributes(),
            settings=self.settings,
        )

    def _network(self) -> Network:
        return Network(
            model=self.network_model(self.serve),
            format=self.serve,
            file=NETWORK_FILES[self.serve],
            max_batch_size=self.serving.max_batch_size,
        )

    def _parts(self, root: Path) -> tuple[Part, ...]:
        return tuple(
            item.part(name, item.network(self.model, name, self._served(item), self.serving.max_batch_size), root)
            for name, item in self.networks.items()
        )

    def _attributes(self) -> tuple[Attribute, ...]:
        largest = self.serving.max_batch_size
        return tuple(
            item.attribute(name, self.model, item.network(self.model, name, self._served(item), largest))
            for name, item in self.attributes.items()
        )

    def _served(self, item: NetworkSpec | AttributeSpec) -> FormatName:
        return item.exported(self.formats, self.serve)[1]

    def digest(self) -> str:
        """sha256 (hex) of the whole spec: a changed spec is a new version."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_model_spec(name: str, settings: Settings) -> ModelSpec:
    """The spec of a model by name; raises SpecNotFound with the names that exist, SpecInvalid for a wrong file."""
    path = settings.models_dir / f"{name}.yaml"
    known = sorted(item.stem for item in settings.models_dir.glob("*.yaml"))
    if name not in known:
        raise SpecNotFound(
            f"there is no model specification {name!r}",
            observed=f"specifications: {', '.join(known) or 'none'}",
            expected=path,
            fix=f"write {path}, or name one of those",
        )
    spec = ModelSpec.load(path)
    if spec.model != name:
        raise SpecInvalid(f"{path}: model: the name differs from the file's", observed=spec.model, expected=name)
    return spec


def _set(values: dict[str, Any], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SpecInvalid(f"{key} holds a value, not keys", observed=inner)
        values = inner
    values[keys[-1]] = value


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as problem:
        raise SpecInvalid(f"labels.file: {path} cannot be read ({problem})") from problem
    if not names or "" in names or len(set(names)) != len(names):
        raise SpecInvalid(
            f"labels.file: {path} must hold one label per line, none empty, none twice",
            observed=f"{len(names)} lines, {len(set(names))} different",
        )
    return names
