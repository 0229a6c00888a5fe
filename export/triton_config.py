"""config.pbtxt of the public model and of its networks, built with Triton's own ModelConfig protobuf.

One config.pbtxt serves every version of a model, so whatever may change between versions (the number of classes,
top-k) is -1. Versions are chosen by the supervisor when it loads a model; the policy written here keeps two loaded
for whoever serves the tree without it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.tensorrt.runner.job import PLAN_FOR_ALL, plan_name
from handlers.task import load_task
from slipway.contract import Contract, Network
from slipway.spec import ModelSpec

#: Formats that a stock Triton backend serves, and how it is named there. ``platform`` is what older configurations
#: and strict mode need for TorchScript.
BACKENDS: dict[str, dict[str, str]] = {
    "onnx": {"backend": "onnxruntime"},
    "onnx-fp16": {"backend": "onnxruntime"},
    "onnx-int8": {"backend": "onnxruntime"},
    "torchscript": {"backend": "pytorch", "platform": "pytorch_libtorch"},
    "openvino": {"backend": "openvino"},
    "openvino-bf16": {"backend": "openvino"},
    "openvino-int8": {"backend": "openvino"},
    "tensorrt": {"backend": "tensorrt", "platform": "tensorrt_plan"},
    "tensorrt-fp16": {"backend": "tensorrt", "platform": "tensorrt_plan"},
    "tensorrt-bf16": {"backend": "tensorrt", "platform": "tensorrt_plan"},
    "tensorrt-int8": {"backend": "tensorrt", "platform": "tensorrt_plan"},
}
#: One thread per instance: two instances of one thread beat one of two threads on conv nets, and an idle pool spins.
THREADS: dict[str, dict[str, str]] = {
    "onnx": {"intra_op_thread_count": "1", "inter_op_thread_count": "1"},
    "onnx-fp16": {"intra_op_thread_count": "1", "inter_op_thread_count": "1"},
    "onnx-int8": {"intra_op_thread_count": "1", "inter_op_thread_count": "1"},
    "torchscript": {"INTRA_OP_THREAD_COUNT": "1", "INTER_OP_THREAD_COUNT": "1"},
    # streams, which the native backend shares among its instances, are as many as those: see network_config
    "openvino": {},
    "openvino-bf16": {"HINT_BF16": "YES"},
    "openvino-int8": {},
    "tensorrt": {},
    "tensorrt-fp16": {},
    "tensorrt-bf16": {},
    "tensorrt-int8": {},
}
#: GPUs that plans are looked for by: one file each, so that one config.pbtxt serves versions built on different ones.
COMPUTE_CAPABILITIES = ("7.0", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1")
#: Names inside ``<model>/warmup/``.
PUBLIC_WARMUP = "image"
NETWORK_WARMUP = "pixels"
_VERSIONS = 2
#: Triton's names of the types of handlers.fields.
_TYPES = {"string": "TYPE_STRING", "bytes": "TYPE_STRING", "float32": "TYPE_FP32", "int32": "TYPE_INT32"}


@dataclass(frozen=True)
class NetworkTensors:
    """What one network takes and gives. ``name``: before the dot and the format, ``digits`` or ``faces.pnet``;
    ``network``: as the contract has it; ``size``: height and width of its input, -1 where any fits; ``output``: shape
    of one row, -1 where it varies; ``example``: height and width of the warm-up's pixels."""

    name: str
    network: Network
    size: tuple[int, int]
    output: tuple[int, ...]
    example: tuple[int, int]

    @classmethod
    def of_classifier(cls, spec: ModelSpec, contract: Contract) -> NetworkTensors:
        """The number of classes may change from version to version."""
        size = (contract.preprocess.height, contract.preprocess.width)
        return cls(spec.model, contract.network, size, (-1,), size)


def public_config(spec: ModelSpec, contract: Contract) -> str:
    """The public model: encoded images in, its task's answers and errors out; the python backend runs the handler."""
    config = _base(spec, spec.model, spec.serving.max_batch_size)
    config.backend = "python"
    _tensor(config.input.add(), "image", "TYPE_STRING", [1])
    for field in load_task(contract).fields:
        _tensor(config.output.add(), field.name, _TYPES[field.dtype], field.dims)
    _tensor(config.output.add(), "errors", "TYPE_STRING", [1])
    # Decoding and the python stub live on the CPU, whatever the network does.
    _instances(config, "KIND_CPU", public_instances(spec))
    _parameters(
        config,
        {
            "network_placement": spec.serving.placement,
            "slipway_task": contract.task,
            "slipway_network": ",".join(network.model for network in contract.networks().values()),
            # what a server may decide anew: `auto` counts its own cores
            "instances": str(spec.serving.instances),
            "networks": ",".join(_called_directly(spec, contract)),
        },
    )
    _warmup(config, "image", "TYPE_STRING", [1], PUBLIC_WARMUP, spec.serving.max_batch_size)
    return _text(config)


def network_config(spec: ModelSpec, contract: Contract, format_name: str, tensors: NetworkTensors | None = None) -> str:
    """One network: raw pixels in, its raw output out, on a stock backend. ``tensors``: of a classifier unless given.

    The instance kind is AUTO: Triton resolves it to every GPU where there is one and to the CPU where there is none,
    while GPU would be refused by a server without (``NormalizeInstanceGroup``, model_config_utils.cc). TensorRT plans
    are GPU: a server without one must refuse them.
    """
    tensors = tensors or NetworkTensors.of_classifier(spec, contract)
    if BACKENDS[format_name]["backend"] == "openvino":
        return _openvino_config(spec, tensors, format_name)
    largest = tensors.network.max_batch_size
    config = _base(spec, f"{tensors.name}.{format_name}", largest)
    for key, value in BACKENDS[format_name].items():
        setattr(config, key, value)
    _tensor(config.input.add(), tensors.network.input, "TYPE_UINT8", [*tensors.size, 3])
    _tensor(config.output.add(), tensors.network.output, "TYPE_FP32", list(tensors.output))
    instances = spec.serving.network_instances
    is_plan = config.platform == "tensorrt_plan"
    # One instance fills a GPU; on a CPU the server raises `auto` to its cores where the public model calls the network.
    _instances(config, "KIND_GPU" if is_plan else "KIND_AUTO", 1 if instances == "auto" else instances)
    if is_plan:
        _plan_files(config, spec)
    own = {"slipway_public_model": spec.model, "instances": str(instances)}
    _parameters(config, {**THREADS[format_name], **own})
    _warmup(config, tensors.network.input, "TYPE_UINT8", [*tensors.example, 3], NETWORK_WARMUP, largest)
    return _text(config)


def _called_directly(spec: ModelSpec, contract: Contract) -> list[str]:
    """Networks that clients may call, besides the one that the model has: those of several are its own affair."""
    if contract.parts or contract.attributes:
        return []
    return [spec.network_model(name) for name in spec.served_networks]


def _plan_files(config: Any, spec: ModelSpec) -> None:
    """Which plan each GPU opens. Triton looks a GPU's compute capability up and opens model.plan where it has no entry
    (``ModelState::AutoCompleteConfig``, tensorrt_backend), which is the name of a hardware-compatible plan."""
    config.default_model_filename = PLAN_FOR_ALL
    if not spec.tensorrt.hardware_compatible:
        for capability in COMPUTE_CAPABILITIES:
            config.cc_model_filenames[capability] = plan_name(capability)


def _openvino_config(spec: ModelSpec, tensors: NetworkTensors, format_name: str) -> str:
    """An OpenVINO network: the batch is an axis like others, and it runs on the CPU.

    With ``max_batch_size`` above 0 the native backend fixes the batch at that size and refuses or pads every other
    (``ov::set_batch`` and ``ProcessRequests`` in openvino.cc, still so in April 2026: openvino_backend#115); its
    maintainers' way to any batch is a dynamic axis (openvino_backend#71). It refuses instances that are not on the
    CPU, which AUTO would be on a machine with a GPU. Clients send the same tensors either way.
    """
    config = _base(spec, f"{tensors.name}.{format_name}", 0)
    config.backend = BACKENDS[format_name]["backend"]
    network, largest = tensors.network, tensors.network.max_batch_size
    _tensor(config.input.add(), network.input, "TYPE_UINT8", [-1, *tensors.size, 3])
    _tensor(config.output.add(), network.output, "TYPE_FP32", [-1, *tensors.output])
    instances = spec.serving.network_instances
    count = 1 if instances == "auto" else instances
    _instances(config, "KIND_CPU", count)
    own = {"slipway_public_model": spec.model, "instances": str(instances), "slipway_max_batch_size": str(largest)}
    # the instances share one compiled model in the native backend: with one stream they would take turns
    _parameters(config, {"NUM_STREAMS": str(count), **THREADS[format_name], **own})
    for title, size in {"one": 1, "largest": largest}.items():
        entry = _warmup_sample(config, title, 1, network.input, "TYPE_UINT8", [size, *tensors.example, 3])
        if size == 1:
            entry.input_data_file = NETWORK_WARMUP
        else:  # the file holds one image, and here nobody repeats it
            entry.random_data = True
    return _text(config)


def public_instances(spec: ModelSpec) -> int:
    """``serving.instances``; ``auto`` is one per core that this process may use (a server may override it)."""
    if spec.serving.instances != "auto":
        return spec.serving.instances
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serialise_image(encoded: bytes) -> bytes:
    """The content of a STRING warm-up file: one element is its length (4 bytes, little endian) and its bytes."""
    return len(encoded).to_bytes(4, "little") + encoded


def _base(spec: ModelSpec, name: str, largest: int) -> Any:
    """``largest``: batch; 0 for a model whose batch is an axis like others."""
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=largest)
    config.version_policy.latest.num_versions = _VERSIONS
    if spec.serving.dynamic_batching and largest:
        config.dynamic_batching.SetInParent()
        if spec.serving.queue_delay_microseconds:
            config.dynamic_batching.max_queue_delay_microseconds = spec.serving.queue_delay_microseconds
    return config


def _tensor(tensor: Any, name: str, data_type: str, dims: list[int]) -> None:
    tensor.name = name
    tensor.data_type = model_config_pb2.DataType.Value(data_type)
    tensor.dims.extend(dims)


def _instances(config: Any, kind: str, count: int) -> None:
    group = config.instance_group.add()
    group.kind = model_config_pb2.ModelInstanceGroup.Kind.Value(kind)
    group.count = count


def _parameters(config: Any, values: dict[str, str]) -> None:
    for key, value in values.items():
        config.parameters[key].string_value = value


def _warmup(config: Any, name: str, data_type: str, dims: list[int], file: str, largest: int) -> None:
    """One image, then the largest batch of it, with the real bytes: a version that cannot answer does not load."""
    for title, size in {"one": 1, "largest": largest}.items():
        _warmup_sample(config, title, size, name, data_type, dims).input_data_file = file


def _warmup_sample(config: Any, title: str, batch: int, name: str, data_type: str, dims: list[int]) -> Any:
    sample = config.model_warmup.add()
    sample.name, sample.batch_size, sample.count = f"{title}_batch", batch, 1
    entry = sample.inputs[name]
    entry.data_type = model_config_pb2.DataType.Value(data_type)
    entry.dims.extend(dims)
    return entry


def _text(config: Any) -> str:
    return str(text_format.MessageToString(config))
