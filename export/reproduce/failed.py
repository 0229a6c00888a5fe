"""Keeps what a failed export made: artefacts, logs, evidence and scripts, of the newest failure of each model."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

#: In the state directory: ``failed/<model>`` is a link to the kept folder, so that replacing it is one step.
FOLDER = "failed"
_KEPT = ".kept"


def keep_failed(workspace: Path, state_dir: Path, model: str) -> Path:
    """Moves the content of ``workspace`` to ``<state_dir>/failed/<model>`` and returns that path.

    What was kept of the model before goes; the link is replaced in one step, so there is always one whole folder.
    The logs of ``<state_dir>/logs/<model>`` are copied into it. The workspace itself stays, empty but for its owner's
    mark. Two exports of one model that fail at once: the later one is kept.
    """
    store = state_dir / FOLDER / _KEPT
    store.mkdir(parents=True, exist_ok=True)
    kept = store / f"{model}@{uuid.uuid4().hex[:12]}"
    kept.mkdir()
    for item in workspace.iterdir():
        if not item.name.startswith("."):
            shutil.move(str(item), kept / item.name)
    logs = state_dir / "logs" / model
    if logs.is_dir():
        shutil.copytree(logs, kept / "logs", dirs_exist_ok=True)
    link, fresh = state_dir / FOLDER / model, store / f"{kept.name}.link"
    fresh.symlink_to(Path(_KEPT) / kept.name)
    os.replace(fresh, link)  # noqa: PTH105  # Path.replace would say the same
    for old in store.glob(f"{model}@*"):
        if old.name != kept.name:
            shutil.rmtree(old, ignore_errors=True)
    return link
