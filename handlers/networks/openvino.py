"""Opens OpenVINO IR files (``model.xml`` and the ``model.bin`` beside it) with openvino's CPU plugin.

What the model is computed in travels with it: the IR's ``rt_info`` names an ``INFERENCE_PRECISION_HINT`` under
``runtime_options``. Without it OpenVINO takes bf16 wherever the processor has it, and the answers of an fp32 model
would depend on the machine (0.2 instead of 6e-5 absolute, measured on ResNet-18).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.calls import RunNetwork
from handlers.memory import WARM_UP_RUNS
from handlers.networks.problems import Batch, corrupt, failed, other_tensors, runtime_missing

#: Where the IR keeps the precision that it is to be computed in: ``f32`` or ``bf16``.
PRECISION_INFO = ("runtime_options", "INFERENCE_PRECISION_HINT")
_IMPORTING = threading.Lock()


def open_ir(path: Path, output: str, threads: int) -> RunNetwork:
    """As :func:`handlers.networks.open_network`. Requests of several threads run one after the other."""
    try:
        openvino = import_openvino()
    except ImportError as error:
        raise runtime_missing("openvino", path) from error
    try:
        core = openvino.Core()
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU", compile_options(model, threads))
        infer = Inference(compiled)
    except Exception as error:  # RuntimeError as a rule; the plugin raises others
        raise corrupt(path, reason_of(error)) from error
    # names of the model: compiling may add those of fused tensors
    inputs, outputs = [port.any_name for port in model.inputs], [port.any_name for port in model.outputs]
    if len(inputs) != 1 or output not in outputs:
        raise other_tensors(path, inputs, outputs, output)
    expected = model.inputs[0].element_type.to_dtype()

    def run(pixels: Batch) -> npt.NDArray[np.float32]:
        if pixels.dtype != expected:  # OpenVINO converts any type, silently
            raise failed(path, pixels, f"the network takes {np.dtype(expected)}")
        try:
            result: npt.NDArray[np.float32] = infer({inputs[0]: pixels}, [output])[output]
        except Exception as error:  # as above
            raise failed(path, pixels, reason_of(error)) from error
        return result

    return run


class Inference:
    """The one infer request of a compiled model. Calls of several threads take turns."""

    def __init__(self, compiled: Any) -> None:
        """``compiled``: openvino.CompiledModel."""
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._one_at_a_time = threading.Lock()
        self._runs = 0

    def __call__(self, feeds: Mapping[str, npt.NDArray[Any]], wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; raises ValueError for an empty input and RuntimeError for what the plugin refuses."""
        if any(array.size == 0 for array in feeds.values()):
            # OpenVINO answers an empty batch with what the last one left behind (2026.4)
            raise ValueError("an input is empty")
        with self._one_at_a_time:
            self._request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            # copied: the next run overwrites the tensors
            results = {name: np.array(self._request.get_tensor(name).data) for name in wanted}
            self._release()
        return results

    def _release(self) -> None:
        """Gives the largest batch's memory back once, after the warm-up: 44 MB with MobileNetV3 and a batch of 8."""
        self._runs += 1
        if self._runs == WARM_UP_RUNS:
            self._compiled.release_memory()


def import_openvino() -> Any:
    """The openvino package, imported without its telemetry; raises ImportError where it is not installed.

    openvino 2026.4 reports every ``import openvino`` to an analytics server and writes ``~/intel``, unless it runs in
    a CI job (``openvino_telemetry``, ``disable_in_ci=True``) or the user has opted out beforehand. It looks once, while
    it is imported, so that is when the variable is set. To be dropped when importing it opens no connection.
    """
    with _IMPORTING:
        if "openvino" in sys.modules:
            return sys.modules["openvino"]
        before = os.environ.get("CI")
        os.environ["CI"] = "true"
        try:
            return importlib.import_module("openvino")
        finally:
            if before is None:
                del os.environ["CI"]
            else:
                os.environ["CI"] = before


def compile_options(model: Any, threads: int) -> dict[str, Any]:
    """The CPU plugin's options for a network that shares the machine with other processes.

    ``model``: openvino.Model. ``threads``: 0 leaves OpenVINO its own choice.
    """
    options: dict[str, Any] = {
        # pinned threads of two processes land on the same core: 100 instead of 203 ResNet-18 images/s on two
        "ENABLE_CPU_PINNING": False,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision_hint(model) or "f32",
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def precision_hint(model: Any) -> str | None:
    """``f32`` or ``bf16`` as the IR says, None where it says nothing."""
    path = list(PRECISION_INFO)
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else None


def reason_of(error: Exception) -> str:
    """The last line of OpenVINO's message: the lines above it are places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
