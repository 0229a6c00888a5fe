"""TensorRT 10: strongly typed on request; precision then lives in the ONNX graph, as 11 requires of everyone.

This file may use only names that the 10.16 bindings have; a test compares.
"""

from __future__ import annotations

from typing import Any

from .job import Job


def network_flags(trt: Any) -> int:
    """Strongly typed: what the graph says is what runs. The explicit batch dimension needs no flag since 10.0."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def set_precision(trt: Any, config: Any, job: Job) -> None:
    """Nothing: precision flags are refused for strongly typed networks."""


def report_progress(trt: Any, config: Any, monitor: Any) -> None:
    """Tells ``monitor`` of the builder's phases."""
    config.progress_monitor = monitor


def progress_base(trt: Any) -> type | None:
    """The class that a monitor must inherit from."""
    base: type = trt.IProgressMonitor
    return base
