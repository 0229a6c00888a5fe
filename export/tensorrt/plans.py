"""``plans.json`` of a published format: which plan is for which GPU, and what built it.

It is the file that a contract names, because the plans beside it differ from version to version. A plan runs on the
compute capability that it was built on and with the TensorRT version that built it, unless it was built to be
compatible; whoever serves it compares with what stands here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.tensorrt.runner.bundle import sha256
from export.tensorrt.runner.job import PLAN_FOR_ALL, Job
from slipway.errors import ExportFailed

SCHEMA = 1
FILE_NAME = "plans.json"
#: What a builder says of its plan that is kept.
_KEPT = ("tensorrt", "compute_capability", "device", "driver", "seconds", "bytes")


def describe_plans(
    name: str, precision: str, job: Job, built: dict[str, dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """Content of plans.json. ``built``: compute capability -> what its build returned, with ``file`` in ``folder``."""
    return {
        "schema": SCHEMA,
        "format": name,
        "precision": precision,
        "profile": {"min": job.shapes[0], "opt": job.shapes[1], "max": job.shapes[2]},
        "hardware_compatible": job.hardware_compatible,
        "version_compatible": job.version_compatible,
        "tf32": job.tf32,
        "plans": {
            capability: {
                "file": entry["file"],
                "sha256": sha256(folder / entry["file"]),
                **{key: entry[key] for key in _KEPT},
            }
            for capability, entry in sorted(built.items())
        },
    }


def write_plans(path: Path, values: dict[str, Any]) -> None:
    """Writes plans.json."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def choose_plan(path: Path, capability: str) -> Path:
    """The plan for a GPU, its sha256 compared; raises ExportFailed when there is none or it has changed."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        plans = values["plans"]
    except (OSError, ValueError, KeyError) as problem:
        raise ExportFailed(f"tensorrt: {path.name} is not readable", observed=str(problem)) from problem
    entry = plans.get(capability)
    if entry is None and values["hardware_compatible"] and float(capability) >= 8.0:
        entry = next((item for item in plans.values() if item["file"] == PLAN_FOR_ALL), None)
    if entry is None:
        raise ExportFailed(
            f"{values['format']}: no plan for this GPU",
            observed=f"compute capability {capability}",
            expected=f"one of {', '.join(sorted(plans))}",
            fix="build one here and publish again, or set tensorrt.hardware_compatible",
        )
    plan = path.parent / str(entry["file"])
    if plan.parent != path.parent or not plan.is_file() or sha256(plan) != entry["sha256"]:
        raise ExportFailed(f"{values['format']}: {plan.name} is missing or has changed", expected=entry["sha256"])
    return plan
