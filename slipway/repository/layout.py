"""Where things lie in the repository, and the pointer that says which version answers requests without one.

```
<repository>/
  digits/                   public model            digits.onnx/    its network
    config.pbtxt                                      config.pbtxt
    3/manifest.json ...     a version: exists once    3/model.onnx
                            its manifest does
    pointer.json            stable, previous, highest
    .lock                   flock of publishers; released by the kernel when its holder dies
    .staging-<id>/          a publication in the making
```
Lock, pointer and staging lie inside the public model's directory, because Triton takes every directory of the
repository's root for a model (hidden ones too, observed with 2.51) but ignores files and non-numeric names here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from slipway import manifest
from slipway.errors import RepositoryDamaged
from slipway.files import write_atomically

STAGING_PREFIX = ".staging-"
TRASH_PREFIX = ".trash-"
LOCK = ".lock"
POINTER = "pointer.json"
CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Pointer:
    """``stable`` answers requests without a version; ``previous`` is where a rollback goes; ``highest`` is the
    largest number ever published, so that a collected number is never used again; ``updated`` is UTC, ISO 8601."""

    stable: int
    previous: int | None
    highest: int
    updated: str

    @classmethod
    def read(cls, path: Path) -> Pointer | None:
        """The pointer, or None where nothing was published yet; raises RepositoryDamaged for a malformed file."""
        try:
            pointer = cls(**json.loads(path.read_text(encoding="utf-8")))
            numbers = (pointer.stable, pointer.highest, 0 if pointer.previous is None else pointer.previous)
            if not all(type(number) is int for number in numbers) or not isinstance(pointer.updated, str):
                raise TypeError("stable, previous and highest must be numbers, updated a text")
            return pointer
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as problem:
            raise RepositoryDamaged(
                f"{path}: {problem}", fix="`slipway rollback MODEL --to VERSION` writes it anew"
            ) from problem

    @classmethod
    def read_or_none(cls, path: Path) -> Pointer | None:
        """As :meth:`read`, with None for a damaged file too: for those who are about to write it anew."""
        try:
            return cls.read(path)
        except RepositoryDamaged:
            return None

    def write(self, path: Path) -> None:
        """Replaces the pointer in one step."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")


def now() -> str:
    """UTC, ISO 8601, microseconds: two pointers written one after the other differ."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def numbered(directory: Path) -> list[int]:
    """The version numbers that have a directory, complete or not, ascending. Odd names are not versions."""
    if not directory.is_dir():
        return []
    return sorted(
        int(item.name)
        for item in directory.iterdir()
        if item.name.isdecimal() and item.name.isascii() and not item.name.startswith("0") and item.is_dir()
    )


def published(directory: Path) -> list[int]:
    """The versions of a public model that exist, which is to say: whose manifest does."""
    return [number for number in numbered(directory) if (directory / str(number) / manifest.FILE_NAME).is_file()]


def network_directories(root: Path, model: str) -> list[Path]:
    """The directories of a public model's networks: ``<model>.<format>``."""
    return sorted(item for item in root.glob(f"{model}.*") if item.is_dir())
