"""Serves ONNX models (``backend: "onnxruntime"``, ``platform: "onnxruntime_onnx"``) inside the embedded Triton.

Takes the native backend's parameters ``intra_op_thread_count``, ``inter_op_thread_count``, ``execution_mode``,
``enable_mem_arena``, ``enable_mem_pattern`` and ``session.*``. One thread per instance unless told otherwise: instances
are the unit of parallelism here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb

from handlers.memory import return_freed_memory
from serving.triton.backends.execution import Arrays, Executor
from serving.triton.backends.model_config import Config, ModelRefused, Tensor, check_tensors, model_file

#: ONNX element type -> Triton data type.
_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class TritonPythonModel:
    """One instance: one onnxruntime session in one process."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the model; a model that does not fit its configuration is refused with the reason."""
        try:
            config = Config.parse(args["model_config"])
            self._session = _open(config)
            check_tensors("input", config.inputs, _tensors(self._session.get_inputs()))
            check_tensors("output", config.outputs, _tensors(self._session.get_outputs()))
        except (ModelRefused, RuntimeError, ValueError) as problem:
            raise pb.TritonModelException(f"{args['model_name']}: {problem}") from None
        self._text_inputs = {item.name for item in config.inputs if item.data_type == "TYPE_STRING"}
        self._executor = Executor(config, self._run, pb)
        return_freed_memory()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return self._executor.execute(requests)

    def _run(self, feeds: Arrays, wanted: Sequence[str]) -> Arrays:
        texts = {name: _text(feeds[name]) for name in self._text_inputs}
        results = self._session.run(list(wanted), {**feeds, **texts})
        return dict(zip(wanted, results, strict=True))


def _text(array: Any) -> Any:
    """Triton hands bytes; onnxruntime's string tensors are text. Raises UnicodeDecodeError, which is a ValueError."""
    flat = [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1)]
    return np.array(flat, dtype=np.object_).reshape(array.shape)


def _open(config: Config) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.integer("intra_op_thread_count", 1)
    options.inter_op_num_threads = config.integer("inter_op_thread_count", 1)
    # An arena and its pattern keep the largest batch's memory for ever (60 MB with ResNet-18), for no less CPU time.
    options.enable_cpu_mem_arena = config.parameters.get("enable_mem_arena") == "1"
    options.enable_mem_pattern = config.parameters.get("enable_mem_pattern") == "1"
    if config.parameters.get("execution_mode") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    for name, value in config.parameters.items():
        if name.startswith("session."):
            options.add_session_config_entry(name, value)
    path = model_file()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        # onnxruntime's exceptions share no base class but Exception.
        reason = (str(problem).strip().splitlines() or ["no reason given"])[0]
        raise ModelRefused(f"{path.parent.name}/{path.name} cannot be opened: {reason}") from problem


def _tensors(nodes: Sequence[Any]) -> dict[str, Tensor]:
    found = {}
    for node in nodes:
        if node.type not in _TYPES:
            raise ModelRefused(f"{node.name}: element type {node.type} is not supported")
        dims = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
        found[node.name] = Tensor(node.name, _TYPES[node.type], dims)
    return found
