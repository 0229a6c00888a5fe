"""Opens ONNX files with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.calls import RunNetwork
from handlers.networks.problems import Batch, corrupt, failed, first_line, other_tensors, runtime_missing


def open_onnx(path: Path, output: str, threads: int) -> RunNetwork:
    """As :func:`handlers.networks.open_network`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise runtime_missing("onnxruntime", path) from error
    try:
        session = onnxruntime.InferenceSession(
            str(path), _session_options(onnxruntime, threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise corrupt(path, first_line(error)) from error
    inputs, outputs = [value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()]
    if len(inputs) != 1 or output not in outputs:
        raise other_tensors(path, inputs, outputs, output)

    def run(pixels: Batch) -> npt.NDArray[np.float32]:
        try:
            result: npt.NDArray[np.float32] = session.run([output], {inputs[0]: pixels})[0]
        except Exception as error:  # as above
            raise failed(path, pixels, first_line(error)) from error
        return result

    return run


def _session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without the arena and its pattern a ResNet-18 process keeps 60 MB less after batches of 1 to 8, at equal CPU time.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Spinning threads burn the core that another instance needs: 21-32 against 19 CPU-ms per ResNet-18 image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options
