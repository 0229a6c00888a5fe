"""What makes two exports the same: weights, specification, held-out images, tools and the code that exports.

Computed without importing torch wherever the source names a file, so that an unchanged model costs a few hundred
milliseconds (and what a server needs to say that its file has not changed), and not an import of torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from export.images import image_files
from export.preprocessing.identity import preprocessing_digest
from export.preprocessing.named import module_file
from export.sources.kind import file_digest
from export.sources.location import locate_source
from slipway.contract import Contract
from slipway.errors import SlipwayError
from slipway.files import sha256_file
from slipway.repository import Repository
from slipway.spec import ModelSpec, SourceSpec

_TOOLS = (
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxconverter-common",
    "openvino",
    "nncf",
    "torch-pruning",
    "tensorrt",
    "numpy",
    "pillow",
)
_PROJECT = Path(__file__).resolve().parent.parent


def tool_versions() -> dict[str, str]:
    """Versions of the packages that take part in an export; those that are not installed are left out."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def checkpoint_digest(spec: ModelSpec, root: Path, cache_dir: Path | None = None) -> str | None:
    """As :func:`source_digest`, of the specification's source, or of all that its networks have."""
    digests = {name: source_digest(source, root, cache_dir) for name, source in spec.sources.items()}
    if len(digests) == 1 and spec.source is not None:
        return next(iter(digests.values()))
    if None in digests.values():
        return None
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def source_digest(source: SourceSpec, root: Path, cache_dir: Path | None = None) -> str | None:
    """sha256 (hex) of the source's file when it is known without torch; None for published weights and bare factories.

    A file on this machine or in a package is read; a declared sha256 of one elsewhere is believed, because loading
    verifies it. What lies elsewhere and declares none is fetched into ``cache_dir`` if that is given (a kept copy is
    only asked about). Raises what ``export.sources.location.locate`` raises.
    """
    elsewhere = urlsplit(source.location or "").scheme in ("http", "https", "models")
    if elsewhere or source.weights is not None:
        if source.sha256 is not None:
            return source.sha256
        if cache_dir is None:
            return None
    located = locate_source(source, root, cache_dir or root)
    return file_digest(located.path) if located is not None else None


def export_identity(spec: ModelSpec, contract: Contract, root: Path, held_out: str, weights: str) -> dict[str, Any]:
    """The parts that make an export what it is, and ``digest`` over all of them; goes into the manifest's source.

    ``held_out``: digest of the images. ``weights``: digest of the checkpoint file, or of the loaded weights.
    """
    # where a file lies does not make another model; its content is in ``weights``
    parts = {
        "weights": weights,
        "spec": spec.without_places().digest(),
        "contract": contract.hash,
        "held_out": held_out,
        "code": _code_digest(spec, root),
        "preprocessing": preprocessing_digest(spec, root),
        "calibration": _calibration_digest(spec, root),
        "distilled": [source_digest(source, root) for source in _sources_of_steps(spec)],
        "tools": tool_versions(),
    }
    return {"digest": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), **parts}


def with_plans(identity: dict[str, Any], bundle: Path) -> dict[str, Any]:
    """The identity of an export that plans join: another one for every report that came back from a GPU machine.

    ``export`` in it is the identity without them, which the bundle must have been written for."""
    report = bundle / "report.json"
    parts = {"export": identity, "plans": sha256_file(report) if report.is_file() else None}
    return {"digest": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), **parts}


def published_version(repository: Repository, model: str, digest: str) -> int | None:
    """The newest intact version with this export digest, or None."""
    if model not in repository.models():
        return None
    for number in reversed(repository.versions(model)):
        try:
            if repository.manifest(model, number).source.get("digest") == digest:
                repository.verify(model, number)
                return number
        except SlipwayError:
            continue  # a damaged version is no reason not to publish a good one; `slipway versions` reports it
    return None


def _code_digest(spec: ModelSpec, root: Path) -> str:
    """sha256 over the sources that decide the outcome: exporters, handlers, the contract and the user's callables."""
    files = [*(_PROJECT / "export").rglob("*.py"), *(_PROJECT / "handlers").rglob("*.py")]
    files += [_PROJECT / "slipway" / "contract.py", *_user_files(spec, root)]
    return _digest_of(sorted(set(files)))


def _digest_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _calibration_digest(spec: ModelSpec, root: Path) -> str | None:
    """sha256 over the names and bytes of the calibration images; None where they are the held-out ones."""
    if spec.calibration.images is None:
        return None
    digest = hashlib.sha256()
    for path in image_files(root / spec.calibration.images, "calibration"):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _sources_of_steps(spec: ModelSpec) -> list[SourceSpec]:
    steps = [step.distil for step in spec.optimise if step.distil is not None]
    return [source for step in steps for source in (step.student, step.teacher) if source is not None]


def _user_files(spec: ModelSpec, root: Path) -> list[Path]:
    """The files of the user's own callables, the factory and those of optimising steps, and their neighbours."""
    named = [
        *(source.factory for source in spec.sources.values()),
        *(name for step in spec.optimise for name in step.functions),
    ]
    found = [module_file(name, root) for name in named if name is not None]
    return [file for path in found if path is not None for file in _beside(path, root)]


def _beside(path: Path, root: Path) -> Iterable[Path]:
    """Python files of the callable's package and of those inside it; of a module in the project's root itself only its
    neighbours, because everything lies below."""
    inside = path.parent.resolve() != root.resolve()
    return path.parent.rglob("*.py") if inside else path.parent.glob("*.py")
