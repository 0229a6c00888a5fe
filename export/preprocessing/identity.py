"""What decides the comparison with the training beside the specification: its code, its labels and the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from export.images import image_files
from export.preprocessing.named import module_file
from export.preprocessing.pictures import ODD_PHOTOGRAPHS

if TYPE_CHECKING:
    from slipway.spec import ModelSpec


def preprocessing_digest(spec: ModelSpec, root: Path) -> str:
    """sha256 (hex) over the files of the training's transform and labels, each with its neighbours, and over the odd
    photographs; imports and runs none of them. What is missing counts as such, and the gate reports it."""
    digest = hashlib.sha256()
    for path in _files(spec, root):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _files(spec: ModelSpec, root: Path) -> Iterator[Path]:
    rules = spec.gates.preprocessing
    if rules.labels is not None and (root / rules.labels).is_file():
        yield root / rules.labels
    for name in (rules.transform, rules.labels):
        module = module_file(name, root) if name is not None and ":" in name else None
        if module is not None:
            yield from sorted(module.parent.glob("*.py"))
    photographs = root / (rules.images or ODD_PHOTOGRAPHS)
    if rules.transform is not None and photographs.is_dir():
        yield from image_files(photographs)
