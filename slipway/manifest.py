"""The manifest of one published version: its files with their sha256, and where they came from.

It is the last thing that appears of a version; a version without it does not exist. Paths are relative to the
repository's root, because a version's files lie in several model directories (public model and its networks).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slipway.errors import ManifestInvalid

SCHEMA = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One file of a version: sha256 (hex) and size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """``files`` maps repository-relative POSIX paths to entries; ``source`` holds what made the version (weights
    digest, spec digest, tools); ``evidence`` the gates' summary; ``created`` is UTC, ISO 8601."""

    model: str
    version: int
    contract_hash: str
    created: str
    files: dict[str, FileEntry]
    networks: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest.json; raises ManifestInvalid."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            schema = values.pop("schema")
            files = {name: FileEntry(**entry) for name, entry in values.pop("files").items()}
            manifest = cls(files=files, **values)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as problem:
            raise ManifestInvalid(f"{path}: {problem}", fix="publish again; never edit a manifest") from problem
        if schema != SCHEMA:
            raise ManifestInvalid(f"{path}: unknown schema", observed=schema, expected=SCHEMA)
        return manifest
