"""The contract of a public model: what happens to an image before and after its network, declared once and hashed.

The same object drives the Triton adapter, TorchServe, the export gates and the benchmarks. It is plain dataclasses
over the standard library because it is read inside model servers, where neither pydantic nor YAML exist.

``contract.json`` lies in every version directory of a public model. Its ``hash`` covers every other field, so two
versions with the same hash treat images identically, and an edited file is refused (CONTRACT_INVALID).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from slipway.errors import ContractInvalid

SCHEMA = 1
RESIZE_MODES = ("shorter_side", "letterbox", "stretch")
COLOURS = ("rgb", "bgr", "grey")
#: Which handler answers a task, unless a contract names another.
HANDLERS = {
    "classification": "handlers.classification:Classification",
    "detection": "handlers.detection:Detection",
    "faces": "handlers.faces:Faces",
    "ocr": "handlers.ocr:Ocr",
    "embedding": "handlers.embedding:Embedding",
    "segmentation": "handlers.segmentation:Segmentation",
}
TASKS = tuple(HANDLERS)
#: A user's own TorchServe handler, migrated as it is: no specification has this task, and it has no network of ours.
ARCHIVE = "archive"
#: Tasks whose handler calls several networks, the contract's parts; the others call one.
TASKS_OF_PARTS = ("faces", "ocr")
#: Tasks that answer with labels of the contract.
TASKS_WITH_LABELS = ("classification", "detection", "segmentation")
ON = ("image", "items")
#: The name of the one network of a task that has one.
ONLY = "network"
#: Before the names of attributes' networks.
ATTRIBUTES = "attributes"
ACTIVATIONS = ("softmax", "sigmoid", "none")
#: Names and files of networks become paths of the repository, of archives and of model servers.
_NETWORK_MODEL = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class Preprocess:
    """From encoded bytes to ``uint8[H, W, 3]``.

    ``height``, ``width``: of the network's input, pixels.
    ``resize``: ``shorter_side`` scales the shorter side to ``resize_to`` and cuts the centre; ``letterbox`` scales
    the whole image to fit and fills the rest with ``fill``; ``stretch`` ignores the aspect ratio.
    ``antialias``: the filter grows with the scale, as in Pillow and in torchvision's ``antialias=True``.
    ``colour``: channel order of the three channels; ``grey`` repeats luma (ITU-R 601) three times.
    ``reduced_decode``: JPEG may be decoded at 1/2, 1/4 or 1/8 of its size where that is still no smaller than twice
    the target: faster, and no longer equal to the training transform.
    ``max_pixels``, ``max_bytes``: an image above either is refused before it is decoded.
    """

    height: int
    width: int
    resize: str = "shorter_side"
    resize_to: int = 0
    interpolation: str = "bilinear"
    antialias: bool = True
    colour: str = "rgb"
    fill: int = 114
    reduced_decode: bool = False
    max_pixels: int = 50_000_000
    max_bytes: int = 20_000_000


@dataclass(frozen=True)
class Normalise:
    """Baked into the exported graph as ``(pixels / scale - mean) / std``; recorded here so that it can be checked."""

    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Network:
    """Which network answers: ``model`` is a model of the repository, called at the contract's own version.

    ``file`` is its artefact inside the version directory, which the fused placement opens itself. ``max_batch_size``
    is the largest batch the network takes; the pipeline splits larger ones.
    """

    model: str
    format: str
    file: str
    input: str = "pixels"
    output: str = "logits"
    max_batch_size: int = 8


@dataclass(frozen=True)
class Part:
    """One of several networks, called by ``name``. ``height``, ``width``: of its input, 0 where any size fits.
    ``colour``: channel order that the network was trained on, ``rgb`` or ``bgr``. ``labels``: what its outputs mean,
    where they mean labels (the characters of a text recogniser)."""

    name: str
    network: Network
    normalise: Normalise = field(default_factory=Normalise)
    height: int = 0
    width: int = 0
    colour: str = "rgb"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """One more task on the same picture: ``on`` the whole ``image``, or on the crop of each of the ``items`` that the
    contract's own task finds, enlarged by ``margin`` (a fraction of the crop's sides). Its results are named
    ``<name>.<field>``. ``contract``: of a task with one network."""

    name: str
    on: str
    contract: Contract
    margin: float = 0.0


@dataclass(frozen=True)
class Postprocess:
    """From raw outputs to a result. Classification: ``activation`` over logits divided by ``temperature``, best
    ``top_k`` of ``labels``, of those that score ``score_threshold`` or more; a request may ask for another ``top_k`` up
    to the number of labels, and for another threshold."""

    activation: str = "softmax"
    temperature: float = 1.0
    top_k: int = 5
    score_threshold: float = 0.0


@dataclass(frozen=True)
class Contract:
    """Everything that belongs to the answers of one public model. See the module's text."""

    model: str
    task: str
    preprocess: Preprocess
    network: Network
    labels: tuple[str, ...]
    normalise: Normalise = field(default_factory=Normalise)
    postprocess: Postprocess = field(default_factory=Postprocess)
    handler: str = "handlers.classification:Classification"
    parts: tuple[Part, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks = [
            *_checks_of_network("network", self.network),
            *(check for part in self.parts for check in _checks_of_network(f"parts.{part.name}.network", part.network)),
            ((self.task in TASKS_OF_PARTS) == bool(self.parts), "parts", [p.name for p in self.parts], TASKS_OF_PARTS),
            (_differ(p.name for p in self.parts), "parts", [p.name for p in self.parts], "different names"),
            (
                _differ(a.name for a in self.attributes),
                "attributes",
                [a.name for a in self.attributes],
                "different names",
            ),
            *((a.on in ON, f"attributes.{a.name}.on", a.on, ON) for a in self.attributes),
            *(
                (
                    not a.contract.parts and not a.contract.attributes,
                    f"attributes.{a.name}",
                    a.contract.task,
                    "one network",
                )
                for a in self.attributes
            ),
            (self.task in (*TASKS, ARCHIVE), "task", self.task, TASKS),
            (self.preprocess.resize in RESIZE_MODES, "preprocess.resize", self.preprocess.resize, RESIZE_MODES),
            (self.preprocess.colour in COLOURS, "preprocess.colour", self.preprocess.colour, COLOURS),
            (
                self.preprocess.interpolation in ("bilinear", "bicubic", "nearest"),
                "preprocess.interpolation",
                self.preprocess.interpolation,
                ("bilinear", "bicubic", "nearest"),
            ),
            (
                self.postprocess.activation in ACTIVATIONS,
                "postprocess.activation",
                self.postprocess.activation,
                ACTIVATIONS,
            ),
            (
                bool(self.parts) or self.task == ARCHIVE or self.preprocess.height > 0 < self.preprocess.width,
                "size",
                self.preprocess,
                "> 0",
            ),
            (len(self.labels) > 0 or self.task not in TASKS_WITH_LABELS, "labels", "none", "at least one label"),
            (
                self.task != "classification" or 1 <= self.postprocess.top_k <= len(self.labels),
                "top_k",
                self.postprocess.top_k,
                f"1..{len(self.labels)}",
            ),
            (self.postprocess.temperature > 0, "temperature", self.postprocess.temperature, "> 0"),
            (0 <= self.postprocess.score_threshold <= 1, "score_threshold", self.postprocess.score_threshold, "0..1"),
            (all(s > 0 for s in self.normalise.std), "normalise.std", self.normalise.std, "> 0"),
        ]
        for good, key, observed, expected in checks:
            if not good:
                raise ContractInvalid(f"{self.model}: {key} is not valid", observed=observed, expected=expected)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the canonical JSON of every field."""
        return hashlib.sha256(_canonical(self.to_dict()).encode()).hexdigest()

    def networks(self) -> dict[str, Network]:
        """Every network behind the answers, by the name that handlers call it by: ``network`` (ONLY) or the parts'
        names, and ``attributes/<name>``. None behind an archive's handler."""
        if self.task == ARCHIVE:
            return {}
        own = {part.name: part.network for part in self.parts} if self.parts else {ONLY: self.network}
        return own | {f"{ATTRIBUTES}/{item.name}": item.contract.network for item in self.attributes}

    @property
    def classes(self) -> int | None:
        """How many logits the network of a classifier gives; None for other tasks, whose outputs are their own."""
        return len(self.labels) if self.task == "classification" else None

    def inputs(self) -> dict[str, tuple[int, int]]:
        """Height and width of every network's input, by the names of :meth:`networks`; 0 where any size fits."""
        if self.task == ARCHIVE:
            return {}
        own = {part.name: (part.height, part.width) for part in self.parts}
        own = own or {ONLY: (self.preprocess.height, self.preprocess.width)}
        of = {f"{ATTRIBUTES}/{item.name}": item.contract.preprocess for item in self.attributes}
        return own | {name: (item.height, item.width) for name, item in of.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Keys that came after the first release are left out where they are empty, so that the hash of
        a contract that does not use them is what it always was."""
        values = asdict(self)
        for key in ("parts", "attributes", "settings"):
            if not values[key]:
                del values[key]
        if not self.postprocess.score_threshold:
            del values["postprocess"]["score_threshold"]
        for row, item in zip(values.get("attributes", ()), self.attributes, strict=True):
            row["contract"] = item.contract.to_dict()
        return values

    def to_json(self) -> str:
        """The text of contract.json, with ``schema`` and ``hash``."""
        values = {"schema": SCHEMA, "hash": self.hash, **self.to_dict()}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "contract.json") -> Contract:
        """Reads what :meth:`to_json` wrote; raises ContractInvalid for unknown schema, keys or a wrong hash."""
        rest = dict(values)
        schema, stated = rest.pop("schema", None), rest.pop("hash", None)
        if schema != SCHEMA:
            raise ContractInvalid(f"{where}: unknown schema", observed=schema, expected=SCHEMA)
        try:
            contract = _contract(rest)
        except (KeyError, TypeError) as error:
            raise ContractInvalid(f"{where}: {error}", fix="publish the version again; never edit its files") from error
        if stated != contract.hash:
            raise ContractInvalid(
                f"{where}: the hash does not match the content",
                observed=stated,
                expected=contract.hash,
                fix="publish the version again; never edit its files",
            )
        return contract

    @classmethod
    def read(cls, path: Path) -> Contract:
        """Reads a contract.json."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ContractInvalid(f"{path}: {error}") from error
        if not isinstance(values, dict):
            raise ContractInvalid(f"{path}: not a JSON object", observed=type(values).__name__)
        return cls.from_dict(values, str(path))


def _contract(values: Mapping[str, Any]) -> Contract:
    """From :meth:`Contract.to_dict`; raises KeyError and TypeError for other keys."""
    rest = dict(values)
    return Contract(
        preprocess=Preprocess(**rest.pop("preprocess")),
        normalise=_normalise(rest.pop("normalise")),
        network=Network(**rest.pop("network")),
        postprocess=Postprocess(**rest.pop("postprocess")),
        labels=tuple(rest.pop("labels")),
        parts=tuple(_part(item) for item in rest.pop("parts", ())),
        attributes=tuple(
            Attribute(**{**item, "contract": _contract(item["contract"])}) for item in rest.pop("attributes", ())
        ),
        **rest,
    )


def _part(values: Mapping[str, Any]) -> Part:
    known = {
        "network": Network(**values["network"]),
        "normalise": _normalise(values["normalise"]),
        "labels": tuple(values["labels"]),
    }
    return Part(**{**values, **known})


def _checks_of_network(key: str, network: Network) -> Iterator[tuple[bool, str, Any, Any]]:
    named = _NETWORK_MODEL.fullmatch(network.model) is not None
    yield named, f"{key}.model", network.model, "letters, digits, _ and -, with dots between them"
    yield _is_inside(network.file), f"{key}.file", network.file, "a relative path without .."


def _is_inside(text: str) -> bool:
    path = PurePosixPath(text)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in text


def _differ(names: Iterable[str]) -> bool:
    found = list(names)
    return len(set(found)) == len(found)


def _normalise(values: Mapping[str, Any]) -> Normalise:
    """JSON has no tuples; equality and hashing of the dataclass need them back."""
    mean, std = (tuple(float(item) for item in values[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise TypeError("normalise: mean and std need three values each")
    return Normalise(scale=float(values["scale"]), mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
