"""OpenVINO's formats of a really trained model: what the files are, what they answer, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import triton_config
from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.openvino import check, read_onnx
from export.formats.openvino_bf16 import OpenVinoBf16, cpu_capabilities
from export.formats.openvino_int8 import ignored
from export.formats.registry import find_format
from export.gates.base import Reference
from handlers.networks.openvino import import_openvino, precision_hint
from slipway.errors import ExportFailed
from slipway.spec import ModelSpec
from slipway.spec.int8 import Int8Spec
from tests.export import small_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> ExportOptions:
    folder = tmp_path_factory.mktemp("openvino")
    (folder / "shared").mkdir()
    return ExportOptions(
        max_batch_size=8, log_dir=folder / "logs", shared_dir=folder / "shared", calibration=reference.pixels
    )


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, example: torch.Tensor, options: ExportOptions
) -> dict[str, Artifact]:
    found = {}
    for name in ("openvino", "openvino-int8"):
        folder = tmp_path_factory.mktemp(name)
        found[name] = find_format(name).export(reference.module, example, folder, options)
    return found


def model_of(artifact: Artifact) -> Any:
    return import_openvino().Core().read_model(str(artifact.path))


def constants(model: Any, kind: str) -> Iterator[np.ndarray]:
    for operation in model.get_ops():
        if operation.get_type_name() == "Constant" and operation.get_element_type().get_type_name() == kind:
            yield operation.data


def sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def test_fp32_is_the_trained_model(made: dict[str, Artifact], reference: Reference) -> None:
    run = find_format("openvino").session(made["openvino"], threads=1)
    scale = np.abs(reference.logits).max()
    assert (
        np.abs(np.concatenate([run(image[None]) for image in reference.pixels]) - reference.logits).max() < 1e-4 * scale
    )
    for size in (1, 2, 8):
        assert np.abs(run(reference.pixels[:size]) - reference.logits[:size]).max() < 1e-4 * scale


def test_int8_decides_alike(made: dict[str, Artifact], reference: Reference) -> None:
    run = find_format("openvino-int8").session(made["openvino-int8"], threads=1)
    found = np.concatenate([run(image[None]) for image in reference.pixels])
    assert (found.argmax(1) == reference.logits.argmax(1)).mean() >= 0.97
    assert sqnr(reference.logits, found) > 20
    assert not np.array_equal(found, reference.logits)


def test_the_files_are_what_triton_is_told(made: dict[str, Artifact]) -> None:
    for artifact in made.values():
        assert [path.name for path in artifact.files] == ["model.xml", "model.bin"]
        model = model_of(artifact)
        check(model, "model.xml")
        assert precision_hint(model) == "f32" == artifact.details["computed_in"]
        text = artifact.path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(artifact.path.parent) not in text


@pytest.mark.parametrize("name", ["openvino", "openvino-int8"])
def test_the_native_backend_would_take_the_file_with_its_configuration(
    made: dict[str, Artifact], spec: ModelSpec, name: str
) -> None:
    """The rule of ``CompareDimsSupported`` (openvino_utils.cc): without max_batch_size every axis is compared; a fixed
    one must be equal, a dynamic one without upper bound fits."""
    text = triton_config.network_config(spec, spec.contract(Path()), name)
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.max_batch_size == 0
    model = model_of(made[name])
    for declared, own in ((config.input, model.inputs), (config.output, model.outputs)):
        assert [item.name for item in declared] == [port.any_name for port in own]
        for item, port in zip(declared, own, strict=True):
            for size, axis in zip(item.dims, port.partial_shape, strict=True):
                assert axis.get_length() == size if axis.is_static else axis.get_max_length() == -1


def test_weights_are_neither_halved_nor_left_in_fp32(made: dict[str, Artifact], reference: Reference) -> None:
    weights = sum(parameter.numel() for parameter in reference.module.parameters() if parameter.dim() > 1)
    fp32, int8 = (made[name].companions[0].stat().st_size for name in ("openvino", "openvino-int8"))
    assert fp32 >= 4 * weights
    assert int8 < 0.5 * fp32
    assert made["openvino-int8"].details["quantizers"] > 0
    assert not list(constants(model_of(made["openvino"]), "f16"))


def test_int8_weights_use_half_of_the_range(made: dict[str, Artifact]) -> None:
    """Without it two products overflow 16 bits where there is no VNNI, and the answers depend on the processor."""
    weights = [data for data in constants(model_of(made["openvino-int8"]), "i8") if data.ndim > 1]
    assert weights and all(np.abs(data.astype(int)).max() <= 64 for data in weights)
    assert max(np.abs(data.astype(int)).max() for data in weights) > 60


def test_the_specification_chooses_ranges(
    made: dict[str, Artifact], reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    other = replace(options, int8=Int8Spec(reduce_range=False, method="percentile", percentile=99.0))
    artifact = find_format("openvino-int8").export(reference.module, example, tmp_path, other)
    weights = [data for data in constants(model_of(artifact), "i8") if data.ndim > 1]
    assert max(np.abs(data.astype(int)).max() for data in weights) == 127
    assert highest_range(artifact) < highest_range(made["openvino-int8"])


def highest_range(artifact: Artifact) -> float:
    """The largest activation that a quantizer lets pass."""
    operations = [item for item in model_of(artifact).get_ops() if item.get_type_name() == "FakeQuantize"]
    return max(float(item.input_value(2).get_node().data.max()) for item in operations)


def test_the_same_images_give_the_same_weights(
    made: dict[str, Artifact], reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    again = find_format("openvino-int8").export(reference.module, example, tmp_path, options)
    assert again.companions[0].read_bytes() == made["openvino-int8"].companions[0].read_bytes()


def test_nodes_that_are_to_stay_in_fp32_do(
    reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    import onnx

    graph = onnx.load(str(base_onnx(reference.module, example, options))).graph
    first, *others = [node.name for node in graph.node if node.op_type == "Conv"]
    artifact = find_format("openvino-int8").export(
        reference.module, example, tmp_path, replace(options, keep_float=(first,))
    )
    assert artifact.details["kept_in_fp32"] == [first]
    quantized = {}
    for operation in model_of(artifact).get_ops():
        if operation.get_type_name() == "Convolution":
            weights = operation.input_value(1).get_node().get_type_name()
            quantized[operation.get_friendly_name().split("/")[0]] = weights != "Constant"
    assert quantized == {first: False, **dict.fromkeys(others, True)}


def test_a_convolution_is_found_under_the_name_that_its_bias_has_taken(
    reference: Reference, example: torch.Tensor, options: ExportOptions
) -> None:
    source = base_onnx(reference.module, example, options)
    import onnx

    name = next(node.name for node in onnx.load(str(source)).graph.node if node.op_type == "Conv")
    assert f"{name}/WithoutBiases" in ignored(read_onnx(source), [name])
    with pytest.raises(ExportFailed, match="no_such_node"):
        ignored(read_onnx(source), [name, "no_such_node"])


def test_int8_without_images_is_refused(
    reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match="images"):
        find_format("openvino-int8").export(reference.module, example, tmp_path, replace(options, calibration=None))


def test_a_fixed_class_axis_is_refused(reference: Reference, example: torch.Tensor, options: ExportOptions) -> None:
    model = import_openvino().Core().read_model(str(base_onnx(reference.module, example, options)))
    with pytest.raises(ExportFailed, match=rf"logits f32\[-1, {len(small_model.LABELS)}\]"):
        check(model, "model.xml")


def test_bf16_says_so_in_its_file_and_is_offered_only_where_it_is_computed(
    reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    kind = OpenVinoBf16()
    reason = kind.available()
    assert (reason is None) == ("BF16" in cpu_capabilities())
    assert reason is None or "no bf16 instructions" in reason
    artifact = kind.export(reference.module, example, tmp_path, options)
    assert precision_hint(model_of(artifact)) == "bf16" == artifact.details["computed_in"]


def test_quantization_prints_nothing(
    reference: Reference,
    example: torch.Tensor,
    options: ExportOptions,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    find_format("openvino-int8").export(reference.module, example, tmp_path, options)
    assert capfd.readouterr() == ("", "")


_QUANTIZE = """
import atexit, json, sys
tried = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork", "os.posix_spawn"):
        tried.append(event)
        raise OSError("not in this test")
atexit.register(lambda: print(json.dumps(tried)))
import torch
sys.addaudithook(hook)
from pathlib import Path
import numpy
from export.formats.base import ExportOptions
from export.formats.openvino_int8 import OpenVinoInt8
pixels = numpy.load(sys.argv[2])
OpenVinoInt8().convert(Path(sys.argv[1]), ExportOptions(8, Path(sys.argv[2]).parent, calibration=pixels))
"""


def test_quantization_tells_nobody(
    reference: Reference, example: torch.Tensor, options: ExportOptions, tmp_path: Path
) -> None:
    """openvino and nncf both report by openvino_telemetry; the control is in tests/handlers/test_networks_openvino."""
    source = base_onnx(reference.module, example, options)
    np.save(tmp_path / "pixels.npy", reference.pixels[:4])
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", _QUANTIZE, str(source), str(tmp_path / "pixels.npy")],
        cwd=ROOT,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert not (home / "intel").exists()
