"""The held-out scans as files, with ``truth.json`` saying which digit each of them shows."""

from __future__ import annotations

import json
from pathlib import Path

from samples.digits import images


def write(folder: Path) -> list[Path]:
    """Every file of the digits' held-out half, and ``truth.json``: ``{"<file>": {"label": "<digit>"}, ...}``."""
    paths = images.write_images("test", folder, "both")
    truth = {path.name: {"label": path.stem.partition("_")[0]} for path in paths}
    known = folder / "truth.json"
    known.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, known]
