"""A stale file: the candidate is, or answers as, the network of a version that was published before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slipway.errors import SlipwayError
from slipway.files import sha256_file

if TYPE_CHECKING:
    from export.gates.causes.case import Case
    from export.gates.measures import Logits
    from slipway.repository import Repository

#: Versions that are looked at, the newest ones.
_VERSIONS = 3


@dataclass(frozen=True)
class Earlier:
    """A network of a published version: ``path`` is its artefact of ``format``."""

    version: int
    format: str
    path: Path

    def __str__(self) -> str:
        return f"version {self.version} ({self.format})"


def published_networks(repository: Repository, model: str, formats: Sequence[str]) -> tuple[Earlier, ...]:
    """The artefacts of the newest published versions in these formats, newest first; empty for a model without any.

    Reads directories only: nothing is opened before a diagnosis asks."""
    from export.formats.registry import all_formats
    from export.reproduce.places import published_file

    if model not in repository.models():
        return ()
    names = {item.name: item.file_name for item in all_formats() if item.name in formats}
    found = []
    for version in sorted(repository.versions(model), reverse=True)[:_VERSIONS]:
        folder = repository.version_dir(model, version)
        for name, file_name in names.items():
            if (path := published_file(folder, model, name, file_name)) is not None:
                found.append(Earlier(version, name, path))
    return tuple(found)


def stale(case: Case) -> str | None:
    """Names the earlier version that a candidate is a copy of, or answers as."""
    artifact = case.candidate.artifact
    if artifact is not None and artifact.path.is_file():
        digest = sha256_file(artifact.path)
        for earlier in case.reference.earlier:
            if earlier.path.is_file() and sha256_file(earlier.path) == digest:
                return f"a stale file: it is {earlier}, byte for byte (sha256 {digest[:12]})"
    same_format = [item for item in case.reference.earlier if item.format == case.candidate.format]
    for earlier in same_format or case.reference.earlier:
        logits = _logits(earlier, case)
        if logits is not None and case.explains(case.found, logits):
            return f"a stale file: it answers as {earlier} does, not as the weights that were exported"
    return None


def _logits(earlier: Earlier, case: Case) -> Logits | None:
    from export.formats.base import Artifact
    from export.formats.registry import find_format

    try:
        run = find_format(earlier.format).session(Artifact(earlier.format, earlier.path, 0.0))
        return np.concatenate([run(case.pixels[i : i + 1]) for i in range(len(case.pixels))])
    except SlipwayError:
        return None  # a damaged earlier version explains nothing
