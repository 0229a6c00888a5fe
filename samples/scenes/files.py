"""Scenes as image files with their truth beside them: held-out ones, ones for calibration, and large ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from samples.digits import images
from samples.scenes.grounds import Split
from samples.scenes.scene import Drawn, Plan, draw

TRUTH = "truth.json"
LABELS = images.LABELS


@dataclass(frozen=True)
class Written:
    """``source``: whose scans and photographs are drawn; ``seed``: of the first scene, the others follow."""

    source: Split
    scenes: int
    plan: Plan
    seed: int


#: ``test`` and ``big``: never trained on, neither their scans nor their photographs. A digit of a big scene is as
#: small as one of a test scene: 20 to 64 pixels of 4000.
SPLITS = {
    "test": Written("test", 240, Plan((416, 416), (0, 14)), 10_000),
    "calibration": Written("train", 64, Plan((416, 416), (1, 14)), 20_000),
    "big": Written("test", 2, Plan((4000, 3000), (150, 150)), 30_000),
}


def scenes(split: str) -> Iterator[Drawn]:
    """The scenes of a split, one by one; the same at every call."""
    chosen = SPLITS[split]
    for number in range(chosen.scenes):
        yield draw(chosen.plan, chosen.source, np.random.default_rng(chosen.seed + number))


def write_scenes(split: str, out_dir: Path) -> list[Path]:
    """Writes ``scene-<number>.jpg`` and ``truth.json``: per file, boxes (x1, y1, x2, y2 in pixels) and labels."""
    out_dir.mkdir(parents=True, exist_ok=True)
    truth: dict[str, dict[str, object]] = {}
    paths = []
    for number, scene in enumerate(scenes(split)):
        path = out_dir / f"scene-{number:03d}.jpg"
        Image.fromarray(scene.pixels).save(path, "JPEG", quality=92)
        truth[path.name] = {
            "boxes": scene.boxes.tolist(),
            "labels": [LABELS[label] for label in scene.labels],
        }
        paths.append(path)
    (out_dir / TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return [*paths, out_dir / TRUTH]
