"""Reads a bundle and holds every file of it against the sha256 that was written with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import BundleDamaged

SCHEMA = 1
FILE_NAME = "bundle.json"
REPORT = "report.json"
REFERENCE = "reference.npz"
_ARRAYS = ("pixels", "logits", "labels", "subset", "request_sizes", "request_images")


@dataclass(frozen=True)
class Bundle:
    """``values``: content of bundle.json. ``digest``: sha256 (hex) of that file, which covers all others."""

    folder: Path
    values: dict[str, Any]
    digest: str

    @property
    def formats(self) -> dict[str, dict[str, Any]]:
        """Format -> ``kind`` (tensorrt or aot-inductor), ``precision``, ``graph``, ``job``, ``thresholds``."""
        found: dict[str, dict[str, Any]] = self.values["formats"]
        return found

    def reference(self) -> dict[str, np.ndarray]:
        """``logits`` float32[n, classes] of the trained model and ``labels`` int64[n] (-1 for none) of the first n of
        ``pixels`` uint8[m, H, W, 3]; ``subset`` int64: those of them that are also run in other batch sizes;
        ``request_sizes`` int64[r] and ``request_images`` int64: the batches that the gates will ask for."""
        with np.load(self.folder / REFERENCE, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in _ARRAYS}


def read_bundle(folder: Path, only: Sequence[str] = ()) -> Bundle:
    """Reads and verifies; raises BundleDamaged with the names of the files that are missing or changed.

    ``only``: formats that will be used, all unless given; the others' folders may be left behind on the way."""
    path = folder / FILE_NAME
    try:
        text = path.read_bytes()
        values = json.loads(text)
        schema, files, formats = values["schema"], values["files"], values["formats"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BundleDamaged(f"{path}: not a bundle of plans: {problem}") from problem
    if schema != SCHEMA:
        raise BundleDamaged(f"{path}: schema {schema}, expected {SCHEMA}")
    left = [entry["graph"] for name, entry in formats.items() if only and name not in only]
    unused = tuple(f"{Path(graph).parent.as_posix()}/" for graph in left)
    wrong = differing(folder, {name: digest for name, digest in files.items() if not name.startswith(unused)})
    if wrong:
        raise BundleDamaged(f"{folder}: not what was written: {'; '.join(wrong)}")
    return Bundle(folder, values, hashlib.sha256(text).hexdigest())


def differing(folder: Path, files: dict[str, str]) -> list[str]:
    """Those of ``files`` (relative path -> sha256) that are missing, changed, or outside the folder."""
    wrong = []
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{name} lies outside the bundle")
        elif not path.is_file():
            wrong.append(f"{name} is missing")
        elif sha256(path) != expected:
            wrong.append(f"{name} has changed")
    return wrong


def sha256(path: Path) -> str:
    """sha256 (hex) of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
