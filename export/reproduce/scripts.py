"""Writes a small script per format and gate that judges the artefact again, and the file that they all read.

Nothing in them names a place on this machine: artefacts are found beside the scripts, images and weights below the
project's root, wherever that is when a script runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.sources.secrets import shown
from slipway.files import sha256_file

if TYPE_CHECKING:
    from export.formats.base import Artifact
    from export.gates.base import GateResult, Reference
    from slipway.spec import ModelSpec

#: Folder of the scripts in a version, and of what they read in it.
FOLDER = "reproduce"
INPUTS = "inputs.json"
SCHEMA = 1

_SCRIPT = '''"""Judges {format} of {model} again by the gate {gate}; exit code 0 when it passes, 1 when not.

Run it with the Python of the tools environment; --root names the project when you are not inside of it.
"""

import sys
from pathlib import Path

from export.reproduce.run import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, {format!r}, {gate!r}))
'''


def write_scripts(
    folder: Path,
    spec: ModelSpec,
    reference: Reference,
    artifacts: Sequence[Artifact],
    results: Sequence[GateResult],
    *,
    weights: str,
    root: Path,
) -> dict[str, Path]:
    """Writes ``folder/reproduce/<format>-<gate>.py`` for every result, and ``inputs.json``.

    ``weights``: digest of the trained model as loaded (LoadedModel.digest); ``root``: the project, which paths of the
    specification are made relative to. Returns path inside the version -> file, as a publication takes them.
    """
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    texts = {
        f"{result.format}-{result.name}.py": _SCRIPT.format(model=spec.model, format=result.format, gate=result.name)
        for result in results
    }
    inputs = {
        "schema": SCHEMA,
        "model": spec.model,
        "spec": _relative(spec.model_dump(mode="json", exclude_unset=True), root),
        "weights": weights,
        "images": {"folder": _relative(spec.samples, root), "sha256": reference.held_out.digest},
        "artifacts": {artifact.format: _files(artifact) for artifact in artifacts},
        "thresholds": reference.gates.model_dump(mode="json"),
        "results": [result.to_dict() for result in results],
    }
    texts[INPUTS] = json.dumps(inputs, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, text in texts.items():
        (target / name).write_text(text, encoding="utf-8")
    return {f"{FOLDER}/{name}": target / name for name in texts}


def _files(artifact: Artifact) -> dict[str, Any]:
    return {"file": artifact.path.name, "sha256": {path.name: sha256_file(path) for path in artifact.files}}


def _relative(value: Any, root: Path) -> Any:
    """The same values with every absolute path that exists made relative to the project, and without the passwords and
    signatures of addresses: a version travels. Such a source must be named again to judge by it."""
    if isinstance(value, Mapping):
        return {key: _relative(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_relative(item, root) for item in value]
    if isinstance(value, str) and "://" in value:
        return shown(value)
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).exists():
        return os.path.relpath(value, root)
    return value
