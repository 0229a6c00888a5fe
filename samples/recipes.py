"""Makes a sample's files once: a record beside them says from which code, parameters and packages they came.

Making is skipped while the record names the same recipe and every file still has its sha256. Files come first and the
record last, so a process killed before the end only makes the next run do the work again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.files import sha256_file, write_atomically

#: Told what is being done and how far it is: a line for people, and a fraction between 0 and 1.
Progress = Callable[[str, float], None]


def silent(text: str, fraction: float) -> None:
    """A Progress that tells nobody."""


@dataclass(frozen=True)
class Made:
    """What a recipe made, or found made: the files, measured facts, and the seconds this run spent on it."""

    files: tuple[Path, ...]
    facts: dict[str, Any]
    reused: bool
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Recipe:
    """``parameters`` are JSON values; ``sources`` are the files whose code decides the result."""

    parameters: Mapping[str, Any]
    sources: Sequence[Path]
    packages: Sequence[str]

    def key(self) -> str:
        """sha256 (hex) of all that decides the result; imports none of the packages."""
        digest = hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode())
        for source in sorted(self.sources, key=lambda path: path.name):
            digest.update(f"\0{source.name}\0".encode() + source.read_bytes())
        for package in sorted(self.packages):
            digest.update(f"\0{package} {importlib.metadata.version(package)}".encode())
        return digest.hexdigest()

    def make(self, record: Path, make: Callable[[], tuple[Sequence[Path], dict[str, Any]]]) -> Made:
        """Runs ``make`` unless ``record`` shows that its result is still there.

        ``make`` writes files in the folder of ``record`` or below it, and returns them with the facts it measured
        (JSON values).
        """
        started, started_cpu = time.perf_counter(), time.process_time()
        record.parent.mkdir(parents=True, exist_ok=True)
        key = self.key()
        found = _read(record, key)
        if found is None:
            record.unlink(missing_ok=True)
            paths, facts = make()
            sums = {path.relative_to(record.parent).as_posix(): sha256_file(path) for path in paths}
            write_atomically(record, json.dumps({"recipe": key, "facts": facts, "files": sums}, indent=2) + "\n")
        else:
            paths, facts = found
        return Made(
            files=tuple(paths),
            facts=facts,
            reused=found is not None,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - started_cpu,
        )


def afresh(folder: Path, write: Callable[[Path], Sequence[Path]]) -> tuple[Sequence[Path], dict[str, Any]]:
    """For :meth:`Recipe.make`: ``write`` fills a folder of which an earlier recipe has left nothing."""
    if folder.exists():
        shutil.rmtree(folder)
    return write(folder), {}


def _read(record: Path, key: str) -> tuple[list[Path], dict[str, Any]] | None:
    """Files and facts of an earlier run of the same recipe, or None when anything is missing or different."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        sums = {record.parent / name: digest for name, digest in values["files"].items()}
        if values["recipe"] == key and all(sha256_file(path) == digest for path, digest in sums.items()):
            return list(sums), dict(values["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no record, a foreign one, or a file is gone: make it again
    return None
