"""The contract of a public model: what happens to an image before and after its network, declared once and hashed.

The same object drives the Triton adapter, TorchServe, the export gates and the benchmarks. It is plain dataclasses
over the standard library because it is read inside model servers, where neither pydantic nor YAML exist.

``contract.json`` lies in every version directory of a public model. Its ``hash`` covers every other field, so two
versions with the same hash treat images identically, and an edited file is refused (CONTRACT_INVALID).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slipway.errors import ContractInvalid

SCHEMA = 1
RESIZE_MODES = ("shorter_side", "letterbox", "stretch")
COLOURS = ("rgb", "bgr", "grey")
TASKS = ("classification",)
ACTIVATIONS = ("softmax", "sigmoid", "none")


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
class Postprocess:
    """From raw outputs to a result. Classification: ``activation`` over logits divided by ``temperature``, best
    ``top_k`` of ``labels``; a request may ask for another ``top_k`` up to the number of labels."""

    activation: str = "softmax"
    temperature: float = 1.0
    top_k: int = 5


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

    def __post_init__(self) -> None:
        checks = [
            (self.task in TASKS, "task", self.task, TASKS),
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
            (self.preprocess.height > 0 and self.preprocess.width > 0, "preprocess size", self.preprocess, "> 0"),
            (len(self.labels) > 0, "labels", "none", "at least one label"),
            (
                1 <= self.postprocess.top_k <= len(self.labels),
                "top_k",
                self.postprocess.top_k,
                f"1..{len(self.labels)}",
            ),
            (self.postprocess.temperature > 0, "temperature", self.postprocess.temperature, "> 0"),
            (all(s > 0 for s in self.normalise.std), "normalise.std", self.normalise.std, "> 0"),
        ]
        for good, key, observed, expected in checks:
            if not good:
                raise ContractInvalid(f"{self.model}: {key} is not valid", observed=observed, expected=expected)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the canonical JSON of every field."""
        return hashlib.sha256(_canonical(asdict(self)).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of contract.json, with ``schema`` and ``hash``."""
        return json.dumps({"schema": SCHEMA, "hash": self.hash, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "contract.json") -> Contract:
        """Reads what :meth:`to_json` wrote; raises ContractInvalid for unknown schema, keys or a wrong hash."""
        rest = dict(values)
        schema, stated = rest.pop("schema", None), rest.pop("hash", None)
        if schema != SCHEMA:
            raise ContractInvalid(f"{where}: unknown schema", observed=schema, expected=SCHEMA)
        try:
            contract = cls(
                preprocess=Preprocess(**rest.pop("preprocess")),
                normalise=_normalise(rest.pop("normalise")),
                network=Network(**rest.pop("network")),
                postprocess=Postprocess(**rest.pop("postprocess")),
                labels=tuple(rest.pop("labels")),
                **rest,
            )
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


def _normalise(values: Mapping[str, Any]) -> Normalise:
    """JSON has no tuples; equality and hashing of the dataclass need them back."""
    mean, std = (tuple(float(item) for item in values[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise TypeError("normalise: mean and std need three values each")
    return Normalise(scale=float(values["scale"]), mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
