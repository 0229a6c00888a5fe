"""The small trained network as fp32 ONNX, and a session of any graph in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.formats.base import ExportOptions
from export.formats.onnx import base_onnx
from export.gates.base import Reference

Run = Callable[[Any, np.ndarray], np.ndarray]


@pytest.fixture(scope="session")
def plan_options(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> ExportOptions:
    folder = tmp_path_factory.mktemp("plans")
    (folder / "shared").mkdir()
    return ExportOptions(8, folder / "logs", shared_dir=folder / "shared", calibration=reference.pixels)


@pytest.fixture(scope="session")
def base(reference: Reference, example: torch.Tensor, plan_options: ExportOptions) -> Path:
    return base_onnx(reference.module, example, plan_options)


@pytest.fixture(scope="session")
def run_graph() -> Run:
    def run(model: Any, pixels: np.ndarray) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: pixels})[0]

    return run
