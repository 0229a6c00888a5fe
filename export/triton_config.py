"""config.pbtxt of the public model and of its networks, built with Triton's own ModelConfig protobuf.

One config.pbtxt serves every version of a model, so whatever may change between versions (the number of classes,
top-k) is -1. Versions are chosen by the supervisor when it loads a model; the policy written here keeps two loaded
for whoever serves the tree without it.
"""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.contract import Contract
from slipway.spec import ModelSpec

#: Formats that a stock Triton backend serves, and how it is named there. ``platform`` is what older configurations
#: and strict mode need for TorchScript.
BACKENDS: dict[str, dict[str, str]] = {
    "onnx": {"backend": "onnxruntime"},
    "torchscript": {"backend": "pytorch", "platform": "pytorch_libtorch"},
}
#: One thread per instance: two instances of one thread beat one of two threads on conv nets, and an idle pool spins.
THREADS: dict[str, dict[str, str]] = {
    "onnx": {"intra_op_thread_count": "1", "inter_op_thread_count": "1"},
    "torchscript": {"INTRA_OP_THREAD_COUNT": "1", "INTER_OP_THREAD_COUNT": "1"},
}
#: Names inside ``<model>/warmup/``.
PUBLIC_WARMUP = "image"
NETWORK_WARMUP = "pixels"
_VERSIONS = 2


def public_config(spec: ModelSpec, contract: Contract) -> str:
    """The public model: encoded images in, labels, scores and errors out; the python backend runs the handler."""
    config = _base(spec, spec.model)
    config.backend = "python"
    _tensor(config.input.add(), "image", "TYPE_STRING", [1])
    _tensor(config.output.add(), "labels", "TYPE_STRING", [-1])
    _tensor(config.output.add(), "scores", "TYPE_FP32", [-1])
    _tensor(config.output.add(), "errors", "TYPE_STRING", [1])
    # Decoding and the python stub live on the CPU, whatever the network does.
    _instances(config, "KIND_CPU", public_instances(spec))
    _parameters(
        config,
        {
            "network_placement": spec.serving.placement,
            "slipway_task": contract.task,
            "slipway_network": contract.network.model,
            # what a server may decide anew: `auto` counts its own cores
            "instances": str(spec.serving.instances),
            "networks": ",".join(spec.network_model(name) for name in spec.served_networks),
        },
    )
    _warmup(config, "image", "TYPE_STRING", [1], PUBLIC_WARMUP, spec.serving.max_batch_size)
    return _text(config)


def network_config(spec: ModelSpec, contract: Contract, format_name: str) -> str:
    """One network: raw pixels in, logits out, on a stock backend.

    The instance kind is AUTO: Triton resolves it to every GPU where there is one and to the CPU where there is none,
    while GPU would be refused by a server without (``NormalizeInstanceGroup``, model_config_utils.cc).
    """
    config = _base(spec, spec.network_model(format_name))
    for key, value in BACKENDS[format_name].items():
        setattr(config, key, value)
    shape = [contract.preprocess.height, contract.preprocess.width, 3]
    _tensor(config.input.add(), contract.network.input, "TYPE_UINT8", shape)
    _tensor(config.output.add(), contract.network.output, "TYPE_FP32", [-1])
    instances = spec.serving.network_instances
    # One instance fills a GPU; on a CPU the server raises `auto` to its cores where the public model calls the network.
    _instances(config, "KIND_AUTO", 1 if instances == "auto" else instances)
    own = {"slipway_public_model": spec.model, "instances": str(instances)}
    _parameters(config, {**THREADS[format_name], **own})
    _warmup(config, contract.network.input, "TYPE_UINT8", shape, NETWORK_WARMUP, spec.serving.max_batch_size)
    return _text(config)


def public_instances(spec: ModelSpec) -> int:
    """``serving.instances``; ``auto`` is one per core that this process may use (a server may override it)."""
    if spec.serving.instances != "auto":
        return spec.serving.instances
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serialise_image(encoded: bytes) -> bytes:
    """The content of a STRING warm-up file: one element is its length (4 bytes, little endian) and its bytes."""
    return len(encoded).to_bytes(4, "little") + encoded


def _base(spec: ModelSpec, name: str) -> Any:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=spec.serving.max_batch_size)
    config.version_policy.latest.num_versions = _VERSIONS
    if spec.serving.dynamic_batching:
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
        sample = config.model_warmup.add()
        sample.name, sample.batch_size, sample.count = f"{title}_batch", size, 1
        entry = sample.inputs[name]
        entry.data_type = model_config_pb2.DataType.Value(data_type)
        entry.dims.extend(dims)
        entry.input_data_file = file


def _text(config: Any) -> str:
    return str(text_format.MessageToString(config))
