"""The job of one build: which graph, which profile, which options; written as JSON beside the graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import BundleDamaged

SCHEMA = 1
#: Plans for one compute capability, and the one that a hardware-compatible build makes for Ampere and newer.
PLAN_FOR_ALL = "model.plan"


def plan_name(compute_capability: str) -> str:
    """File name of the plan for ``9.0`` or ``12.1``: ``model_90.plan``, ``model_121.plan``."""
    return f"model_{compute_capability.replace('.', '')}.plan"


@dataclass(frozen=True)
class Job:
    """One build. Paths are relative to the job's folder.

    ``precision``: fp32, fp16, bf16 or int8; the graph carries it, only TensorRT 8.6 needs to be told.
    ``shapes``: min, opt and max of the input, ``[N, H, W, 3]``. ``workspace_bytes``: the builder's limit.
    ``optimization_level``: 0 to 5, None for TensorRT's own. ``builtin_tactics``: do without cuBLAS and cuDNN (8.6).
    """

    format: str
    onnx: str
    precision: str
    input: str
    output: str
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    plan_dir: str
    timing_cache: str
    workspace_bytes: int = 4 << 30
    tf32: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False
    optimization_level: int | None = None
    builtin_tactics: bool = False

    def to_json(self) -> str:
        """The text of job.json."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads a job.json; raises BundleDamaged."""
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            schema = values.pop("schema")
            low, best, high = (tuple(int(size) for size in shape) for shape in values.pop("shapes"))
            job = cls(shapes=(low, best, high), **values)
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise BundleDamaged(f"{path}: not a job: {problem}") from problem
        if schema != SCHEMA:
            raise BundleDamaged(f"{path}: schema {schema}, expected {SCHEMA}")
        return job
