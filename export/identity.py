"""What makes two exports the same: weights, specification, held-out images, tools and the code that exports.

Computed without importing torch wherever the checkpoint is a local file, so that an unchanged model costs a few
hundred milliseconds and not an import of torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from slipway.contract import Contract
from slipway.errors import SlipwayError
from slipway.files import sha256_file
from slipway.repository import Repository
from slipway.spec import ModelSpec

_TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")
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


def checkpoint_digest(spec: ModelSpec, root: Path) -> str | None:
    """sha256 (hex) of the checkpoint when it is known without a download or torch: a local file, or declared."""
    location = spec.source.checkpoint
    if location is None:
        return None
    url = urlsplit(location)
    if url.scheme in ("http", "https"):
        return spec.source.sha256
    path = Path(url2pathname(url.path)) if url.scheme == "file" else root / location
    return sha256_file(path) if path.is_file() else None


def export_identity(spec: ModelSpec, contract: Contract, root: Path, held_out: str, weights: str) -> dict[str, Any]:
    """The parts that make an export what it is, and ``digest`` over all of them; goes into the manifest's source.

    ``held_out``: digest of the images. ``weights``: digest of the checkpoint file, or of the loaded weights.
    """
    # where the checkpoint lies does not make another model; its content is in ``weights``
    source = spec.source.model_copy(update={"checkpoint": None, "sha256": None})
    parts = {
        "weights": weights,
        "spec": spec.model_copy(update={"source": source}).digest(),
        "contract": contract.hash,
        "held_out": held_out,
        "code": _code_digest(spec, root),
        "tools": tool_versions(),
    }
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
    """sha256 over the sources that decide the outcome: exporters, handlers, the contract and the model's factory."""
    files = [*(_PROJECT / "export").rglob("*.py"), *(_PROJECT / "handlers").rglob("*.py")]
    files += [_PROJECT / "slipway" / "contract.py", *_factory_files(spec, root)]
    return _digest_of(sorted(set(files)))


def _digest_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _factory_files(spec: ModelSpec, root: Path) -> list[Path]:
    """The file of the factory's module and its neighbours, found without running it."""
    if spec.source.factory is None:
        return []
    module = spec.source.factory.partition(":")[0]
    local = root.joinpath(*module.split(".")).with_suffix(".py")
    if local.is_file():
        return sorted(local.parent.glob("*.py"))
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        return []  # the source reports it, with its own words
    return sorted(Path(found.origin).parent.glob("*.py")) if found and found.origin else []
