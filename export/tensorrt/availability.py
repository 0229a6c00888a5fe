"""Whether plans can be built here, and what exactly is missing."""

from __future__ import annotations

from functools import cache
from typing import Any

from export.tensorrt.runner.probe import missing, probe_apart

#: What can be done without a GPU all the same.
_ELSEWHERE = "or build on a GPU machine: `slipway export MODEL --plan-bundle DIR`"


def unavailable(precision: str) -> str | None:
    """None when plans of this precision can be built here, else everything that is missing and how to get it."""
    found = machine()
    lacks = missing(found)
    if not lacks and precision == "bf16" and int(str(found["tensorrt"]).split(".")[0]) < 10:
        lacks.append(f"TensorRT {found['tensorrt']} has no bf16: 10 or newer is needed")
    return "; ".join([*lacks, _ELSEWHERE]) if lacks else None


@cache
def machine() -> dict[str, Any]:
    """Driver, GPUs and TensorRT of this machine, asked once in a process of its own; see runner.probe.

    Without a GPU that process imports nothing of TensorRT; with one it tries the builder, which may end it."""
    return probe_apart()
