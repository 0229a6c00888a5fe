"""config.pbtxt texts, parsed back with Triton's own protobuf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import triton_config
from slipway.spec import NETWORK_FILES, ModelSpec
from tests.export.conftest import SPEC

KIND = model_config_pb2.ModelInstanceGroup.Kind


def _parse(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _spec(**serving: object) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, "serving": serving})


def _public(spec: ModelSpec) -> Any:
    return _parse(triton_config.public_config(spec, spec.contract(Path())))


def _network(spec: ModelSpec, name: str) -> Any:
    return _parse(triton_config.network_config(spec, spec.contract(Path()), name))


def _tensors(values: Any) -> list[tuple[str, str, list[int]]]:
    return [(item.name, model_config_pb2.DataType.Name(item.data_type), list(item.dims)) for item in values]


def test_the_public_model_takes_encoded_images() -> None:
    config = _public(_spec(instances=3))
    assert (config.name, config.backend, config.platform, config.max_batch_size) == ("small", "python", "", 8)
    assert _tensors(config.input) == [("image", "TYPE_STRING", [1])]
    assert _tensors(config.output) == [
        ("labels", "TYPE_STRING", [-1]),
        ("scores", "TYPE_FP32", [-1]),
        ("errors", "TYPE_STRING", [1]),
    ]
    assert [(group.kind, group.count) for group in config.instance_group] == [(KIND.KIND_CPU, 3)]
    assert config.parameters["network_placement"].string_value == "fused"


@pytest.mark.parametrize(
    ("name", "backend", "platform"),
    [("onnx", "onnxruntime", ""), ("torchscript", "pytorch", "pytorch_libtorch")],
)
def test_a_network_takes_raw_pixels_on_a_stock_backend(name: str, backend: str, platform: str) -> None:
    config = _network(_spec(network_instances=2), name)
    assert (config.name, config.backend, config.platform) == (f"small.{name}", backend, platform)
    assert _tensors(config.input) == [("pixels", "TYPE_UINT8", [32, 32, 3])]
    assert _tensors(config.output) == [("logits", "TYPE_FP32", [-1])]
    assert [(group.kind, group.count) for group in config.instance_group] == [(KIND.KIND_AUTO, 2)]


@pytest.mark.parametrize("name", ["openvino", "openvino-bf16", "openvino-int8"])
def test_an_openvino_network_takes_any_batch_as_an_axis(name: str) -> None:
    """The native backend fixes or pads the batch of a model with max_batch_size, and refuses instances off the CPU."""
    config = _network(_spec(network_instances=3, max_batch_size=4), name)
    assert (config.name, config.backend, config.max_batch_size) == (f"small.{name}", "openvino", 0)
    assert not config.HasField("dynamic_batching")
    assert _tensors(config.input) == [("pixels", "TYPE_UINT8", [-1, 32, 32, 3])]
    assert _tensors(config.output) == [("logits", "TYPE_FP32", [-1, -1])]
    assert [(group.kind, group.count) for group in config.instance_group] == [(KIND.KIND_CPU, 3)]
    parameters = {key: item.string_value for key, item in config.parameters.items()}
    assert parameters["NUM_STREAMS"] == "3" and parameters["slipway_max_batch_size"] == "4"
    assert parameters.get("HINT_BF16") == ("YES" if name == "openvino-bf16" else None)
    one, largest = (item.inputs["pixels"] for item in config.model_warmup)
    assert (list(one.dims), one.input_data_file) == ([1, 32, 32, 3], "pixels")
    assert (list(largest.dims), largest.random_data) == ([4, 32, 32, 3], True)


def test_one_thread_per_network_instance() -> None:
    assert _network(_spec(), "onnx").parameters["intra_op_thread_count"].string_value == "1"
    assert _network(_spec(), "torchscript").parameters["INTRA_OP_THREAD_COUNT"].string_value == "1"


def test_two_versions_stay_loaded_by_policy() -> None:
    assert _public(_spec()).version_policy.latest.num_versions == 2


def test_dynamic_batching_is_written_with_delay_zero_and_only_when_asked_for() -> None:
    assert _public(_spec()).HasField("dynamic_batching")
    assert _public(_spec()).dynamic_batching.max_queue_delay_microseconds == 0
    assert _public(_spec(queue_delay_microseconds=300)).dynamic_batching.max_queue_delay_microseconds == 300
    assert not _network(_spec(dynamic_batching=False), "onnx").HasField("dynamic_batching")


def test_automatic_instances_are_one_per_usable_core() -> None:
    assert _public(_spec()).instance_group[0].count == triton_config.public_instances(_spec()) >= 1


def test_warm_up_uses_real_files_for_one_image_and_for_the_largest_batch() -> None:
    public, network = _public(_spec(max_batch_size=4)), _network(_spec(max_batch_size=4), "onnx")
    assert [(item.batch_size, item.count) for item in public.model_warmup] == [(1, 1), (4, 1)]
    image, pixels = public.model_warmup[0].inputs["image"], network.model_warmup[0].inputs["pixels"]
    assert (list(image.dims), image.input_data_file) == ([1], "image")
    assert (list(pixels.dims), pixels.input_data_file) == ([32, 32, 3], "pixels")


def test_a_string_warm_up_file_carries_its_length() -> None:
    assert triton_config.serialise_image(b"abc") == b"\x03\x00\x00\x00abc"


def test_every_served_format_has_a_backend() -> None:
    assert set(triton_config.BACKENDS) == set(triton_config.THREADS) == set(NETWORK_FILES)
