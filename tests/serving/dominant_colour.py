"""A real and tiny model for tests of serving: which colour channel of a photograph is the strongest.

It is published like any other: ONNX and TorchScript networks, contract, golden prediction, warm-up, manifest. Its
arithmetic is written out in numpy too, so that every served answer can be checked against an independent one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import skimage
from google.protobuf import text_format
from onnx import TensorProto, helper
from PIL import Image
from tritonclient.grpc import model_config_pb2

from handlers.pipeline import Pipeline
from slipway.contract import Contract, Network, Postprocess, Preprocess
from slipway.repository import Publication, Repository

SIZE = 32
LABELS = ("red", "green", "blue")
_MODEL_PY = "from handlers.triton import TritonPythonModel  # noqa: F401\n\n__all__ = ['TritonPythonModel']\n"


def photograph(name: str = "coffee.png") -> bytes:
    """A photograph from scikit-image's wheel, as its own encoded bytes."""
    return (Path(skimage.__file__).parent / "data" / name).read_bytes()


def contract(model: str, served: str = "onnx") -> Contract:
    file = {"onnx": "model.onnx", "torchscript": "model.pt"}[served]
    return Contract(
        model=model,
        task="classification",
        preprocess=Preprocess(height=SIZE, width=SIZE, resize="stretch", resize_to=SIZE),
        network=Network(model=f"{model}.{served}", format=served, file=file),
        labels=LABELS,
        postprocess=Postprocess(top_k=3),
    )


def logits(pixels: np.ndarray, gain: float) -> np.ndarray:
    """uint8[N, H, W, 3] -> float32[N, 3]: the mean of each channel, times ``gain``."""
    return (pixels.astype(np.float32).mean(axis=(1, 2)) * np.float32(gain / 255)).astype(np.float32)


@dataclass
class Recipe:
    """``broken``: a file of rubbish with a right sha256; ``wrong``: a network that answers the golden image wrongly;
    ``nan_above``: mean of all pixels, 0..255, above which the ONNX network answers NaN."""

    model: str = "colour"
    gain: float = 4.0
    placement: str = "fused"
    instances: int = 2
    served: str = "onnx"
    networks: str | None = None
    broken: bool = False
    wrong: bool = False
    nan_above: float | None = None


def publish(
    repository: Repository, scratch: Path, recipe: Recipe, on_step: Callable[[str], None] = lambda step: None
) -> int:
    """Publishes one version and returns its number; the pointer moves only for the first.

    ``on_step``: see slipway.repository.publish; called before each step.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    model, agreed = recipe.model, contract(recipe.model, recipe.served)
    warmup_image = photograph("rocket.jpg")
    _golden(agreed, recipe, scratch)
    _onnx(scratch / "model.onnx", -recipe.gain if recipe.wrong else recipe.gain, recipe.nan_above)
    _torchscript(scratch / "model.pt", recipe.gain)
    if recipe.broken:
        (scratch / agreed.network.file).write_bytes(b"this is not a network")
    (scratch / "model.py").write_text(_MODEL_PY)
    (scratch / "image").write_bytes(len(warmup_image).to_bytes(4, "little") + warmup_image)
    public = {
        "model.py": scratch / "model.py",
        "golden/input.png": scratch / "input.png",
        "golden/expected.json": scratch / "expected.json",
    }
    files = {
        model: public,
        f"{model}.onnx": {"model.onnx": scratch / "model.onnx"},
        f"{model}.torchscript": {"model.pt": scratch / "model.pt"},
    }
    configs = {
        model: _public_config(recipe),
        f"{model}.onnx": _network_config(f"{model}.onnx", "onnxruntime"),
        f"{model}.torchscript": _network_config(f"{model}.torchscript", "pytorch", "pytorch_libtorch"),
    }
    return repository.publish(
        Publication(agreed, files, configs, model_files={model: {"warmup/image": scratch / "image"}}),
        on_step,
    )


def _golden(agreed: Contract, recipe: Recipe, scratch: Path) -> None:
    image = Image.open(io.BytesIO(photograph())).convert("RGB").resize((96, 64))
    image.save(scratch / "input.png")
    pipeline = Pipeline(agreed, lambda pixels: logits(pixels, recipe.gain))
    result = pipeline.run([(scratch / "input.png").read_bytes()])[0]
    record = {"labels": list(result.labels), "scores": [float(score) for score in result.scores]}
    (scratch / "expected.json").write_text(json.dumps({"record": record}))


def _onnx(path: Path, gain: float, nan_above: float | None = None) -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["means", "gain"], ["scaled"]),
        # the root of a negative number is NaN, and so is NaN times 0
        helper.make_node("ReduceMean", ["means"], ["brightness"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["limit", "brightness"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing"]),
        helper.make_node("Add", ["scaled", "nothing"], ["logits"]),
    ]
    limit = 1000.0 if nan_above is None else nan_above
    graph = helper.make_graph(
        nodes,
        "dominant_colour",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor("gain", TensorProto.FLOAT, [], [gain / 255]),
            helper.make_tensor("limit", TensorProto.FLOAT, [], [limit]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)


def _torchscript(path: Path, gain: float) -> None:
    import torch

    class DominantColour(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.to(torch.float32).mean(dim=(1, 2)) * (gain / 255)

    traced = torch.jit.trace(DominantColour(), torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))
    torch.jit.save(traced, str(path))


def _public_config(recipe: Recipe) -> str:
    config = model_config_pb2.ModelConfig(name=recipe.model, backend="python", max_batch_size=8)
    _tensor(config.input.add(), "image", model_config_pb2.TYPE_STRING, [1])
    _tensor(config.output.add(), "labels", model_config_pb2.TYPE_STRING, [-1])
    _tensor(config.output.add(), "scores", model_config_pb2.TYPE_FP32, [-1])
    _tensor(config.output.add(), "errors", model_config_pb2.TYPE_STRING, [1])
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=recipe.instances)
    config.dynamic_batching.SetInParent()
    config.parameters["network_placement"].string_value = recipe.placement
    if recipe.networks is not None:
        config.parameters["networks"].string_value = recipe.networks
    sample = config.model_warmup.add(name="one", batch_size=1, count=1)
    sample.inputs["image"].data_type = model_config_pb2.TYPE_STRING
    sample.inputs["image"].dims.append(1)
    sample.inputs["image"].input_data_file = "image"
    return str(text_format.MessageToString(config))


def _network_config(name: str, backend: str, platform: str = "") -> str:
    config = model_config_pb2.ModelConfig(name=name, backend=backend, platform=platform, max_batch_size=8)
    _tensor(config.input.add(), "pixels", model_config_pb2.TYPE_UINT8, [SIZE, SIZE, 3])
    _tensor(config.output.add(), "logits", model_config_pb2.TYPE_FP32, [-1])
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_AUTO, count=1)
    config.dynamic_batching.SetInParent()
    return str(text_format.MessageToString(config))


def _tensor(tensor: object, name: str, data_type: int, dims: list[int]) -> None:
    tensor.name, tensor.data_type = name, data_type  # type: ignore[attr-defined]
    tensor.dims.extend(dims)  # type: ignore[attr-defined]
