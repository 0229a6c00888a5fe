"""Serves OpenVINO IR models (``backend: "openvino"``, ``model.xml`` beside ``model.bin``) inside the embedded Triton.

Takes the native backend's parameters ``INFERENCE_NUM_THREADS``, ``NUM_STREAMS``, ``COMPILATION_NUM_THREADS``,
``PERFORMANCE_HINT``, ``HINT_BF16`` and ``RESHAPE_IO_LAYERS``. ``SKIP_OV_DYNAMIC_BATCHSIZE`` and
``ENABLE_BATCH_PADDING`` have nothing to do here: the batch is dynamic, and what the native backend would pad runs at
its own size. There, threads and streams are shared by all instances; here an instance is a process of one stream and
gets its share of the threads, one unless told otherwise. Without ``HINT_BF16`` the model's own precision hint holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from handlers.memory import return_freed_memory
from handlers.networks.openvino import Inference, compile_options, import_openvino, reason_of
from serving.triton.backends.execution import Arrays, Executor
from serving.triton.backends.model_config import Config, ModelRefused, Tensor, check_tensors, model_file

#: OpenVINO element type -> Triton data type.
_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
}
#: Slipway's own: the largest batch of a model whose config.pbtxt says ``max_batch_size: 0`` (see export.triton_config).
LARGEST_BATCH = "slipway_max_batch_size"


class TritonPythonModel:
    """One instance: one compiled model and one infer request in one process."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the model; one that does not fit its configuration is refused with the reason."""
        try:
            config = Config.parse(args["model_config"])
            self._largest = config.integer(LARGEST_BATCH, 0)
            self._open(config)
        except ModelRefused as problem:
            raise pb.TritonModelException(f"{args['model_name']}: {problem}") from None
        except (RuntimeError, ValueError) as problem:
            raise pb.TritonModelException(f"{args['model_name']}: {reason_of(problem)}") from None
        self._executor = Executor(config, self._run, pb)
        return_freed_memory()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return self._executor.execute(requests)

    def _open(self, config: Config) -> None:
        core = import_openvino().Core()
        model = _read(core)
        _reshape(model, config)
        check_tensors("input", config.inputs, _tensors(model.inputs))
        check_tensors("output", config.outputs, _tensors(model.outputs))
        self._infer = Inference(core.compile_model(model, "CPU", _options(model, config)))

    def _run(self, feeds: Arrays, wanted: Sequence[str]) -> Arrays:
        sizes = {len(array) for array in feeds.values()} if self._largest else {1}
        if max(sizes) > self._largest > 0:
            raise ValueError(f"batch sizes {sorted(sizes)}, expected 1 to {self._largest}")
        try:
            return self._infer(feeds, wanted)
        except RuntimeError as problem:
            raise RuntimeError(reason_of(problem)) from None


def _read(core: Any) -> Any:
    path = model_file()
    try:
        return core.read_model(str(path))
    except RuntimeError as problem:
        raise ModelRefused(f"{path.parent.name}/{path.name} cannot be opened: {reason_of(problem)}") from problem


def _reshape(model: Any, config: Config) -> None:
    """Opens the batch axis where requests are batched, and all axes as RESHAPE_IO_LAYERS asks."""
    shapes = {port.any_name: port.partial_shape for port in model.inputs}
    chosen: dict[str, list[int]] = {}
    for item in config.inputs:
        own = shapes.get(item.name)
        if own is None or len(own) != len(item.dims):
            continue  # check_tensors says it better
        if _switch(config, "RESHAPE_IO_LAYERS"):
            chosen[item.name] = list(item.dims)
        elif config.max_batch_size and own[0].is_static:
            chosen[item.name] = [-1, *(-1 if axis.is_dynamic else axis.get_length() for axis in list(own)[1:])]
    if not chosen:
        return
    try:
        model.reshape(chosen)
    except RuntimeError as problem:
        raise ModelRefused(f"the model cannot take {chosen}: {reason_of(problem)}") from problem


def _options(model: Any, config: Config) -> dict[str, Any]:
    given = config.parameters
    if given.get("TARGET_DEVICE", "CPU").upper() != "CPU":
        raise ModelRefused(f"TARGET_DEVICE is {given['TARGET_DEVICE']!r}; the embedded server has the CPU alone")
    if "CPU_EXTENSION_PATH" in given:
        raise ModelRefused("CPU_EXTENSION_PATH: the embedded server loads no libraries that a configuration names")
    streams = given.get("NUM_STREAMS", "1")
    if streams.upper() not in ("AUTO", "NUMA") and not streams.isdecimal():
        raise ModelRefused(f"NUM_STREAMS is {streams!r}, not AUTO, NUMA or a whole number")
    shared_by = int(streams) if streams.isdecimal() else 1
    options = compile_options(model, max(1, config.integer("INFERENCE_NUM_THREADS", 1) // max(1, shared_by)))
    if "COMPILATION_NUM_THREADS" in given:
        options["COMPILATION_NUM_THREADS"] = config.integer("COMPILATION_NUM_THREADS", 1)
    if "PERFORMANCE_HINT" in given:
        options["PERFORMANCE_HINT"] = given["PERFORMANCE_HINT"].upper()
    if _switch(config, "HINT_BF16"):
        options["INFERENCE_PRECISION_HINT"] = "bf16"
    return options


def _switch(config: Config, name: str) -> bool:
    return config.parameters.get(name, "").lower() == "yes"


def _tensors(ports: Sequence[Any]) -> dict[str, Tensor]:
    found = {}
    for port in ports:
        kind = port.element_type.get_type_name()
        if kind not in _TYPES:
            raise ModelRefused(f"{port.any_name}: element type {kind} is not supported")
        dims = tuple(-1 if axis.is_dynamic else axis.get_length() for axis in port.partial_shape)
        found[port.any_name] = Tensor(port.any_name, _TYPES[kind], dims)
    return found
