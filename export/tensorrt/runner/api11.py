"""TensorRT 11: every network is strongly typed and no precision flag is left.

This file may use only names that the 11.4 bindings have; a test compares.
"""

from __future__ import annotations

from typing import Any

from .job import Job


def network_flags(trt: Any) -> int:
    """None: STRONGLY_TYPED is still there but ignored ("strongly typed mode is always enabled", its docstring)."""
    return 0


def set_precision(trt: Any, config: Any, job: Job) -> None:
    """Nothing: ``BuilderFlag.FP16``, ``BF16`` and ``INT8`` are gone."""


def report_progress(trt: Any, config: Any, monitor: Any) -> None:
    """Tells ``monitor`` of the builder's phases."""
    config.progress_monitor = monitor


def progress_base(trt: Any) -> type | None:
    """The class that a monitor must inherit from."""
    base: type = trt.IProgressMonitor
    return base
