"""TensorRT 8.6: weakly typed networks, so the precisions that the builder may use are flags; Q/DQ nodes are honoured.

This file may use only names that the 8.6 bindings have; a test compares.
"""

from __future__ import annotations

from typing import Any

from .errors import BuildFailed
from .job import Job


def network_flags(trt: Any) -> int:
    """An explicit batch dimension: the ONNX parser takes no other network."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def set_precision(trt: Any, config: Any, job: Job) -> None:
    """Flags by precision. With INT8 the layers that are not quantised may run in fp16, which the gates then judge."""
    if job.precision == "bf16":
        raise BuildFailed("TensorRT 8.6 has no bf16: build this format with TensorRT 10 or newer")
    if job.precision in ("fp16", "int8"):
        config.set_flag(trt.BuilderFlag.FP16)
    if job.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if job.builtin_tactics:
        # Without them 8.6 opens libcublas.so.12 and libcudnn.so.8, over 1 GB that need not be there.
        own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
        config.set_tactic_sources(sum(1 << int(source) for source in own))


def report_progress(trt: Any, config: Any, monitor: Any) -> None:
    """8.6 has no progress monitor; its log says what it does."""


def progress_base(trt: Any) -> type | None:
    """As above: none."""
    return None
