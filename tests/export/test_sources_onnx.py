"""ONNX files as sources: the same answers as the trained module, opened batches proved, and what is wrong named."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.formats.base import ExportOptions
from export.formats.registry import find_format
from export.sources import load
from export.sources.kind import file_digest
from export.sources.onnx_file import OnnxModule
from export.wrap import eager_network, wrap
from slipway.errors import SourceInvalid
from slipway.spec import SourceSpec
from tests.export import small_model

SIZE = (small_model.SIZE, small_model.SIZE)
CLASSES = len(small_model.LABELS)


def write(module: nn.Module, path, *, batch: int | None = None, opset: int = 17, **names):
    """By torch's older exporter: ``batch`` None is dynamic."""
    axes = {"images": {0: "n"}, "scores": {0: "n"}} if batch is None else None
    options = {"input_names": ["images"], "output_names": ["scores"], "dynamic_axes": axes, **names}
    images = torch.rand(batch or 2, 3, *SIZE)
    torch.onnx.export(module.eval(), (images,), str(path), dynamo=False, opset_version=opset, **options)
    return path


@pytest.fixture(scope="module")
def graph(trained, tmp_path_factory):
    return write(trained, tmp_path_factory.mktemp("graph") / "net.onnx")


def get(path, classes: int = CLASSES, size: tuple[int, int] = SIZE, **keys):
    return load(SourceSpec(onnx=str(path), **keys), path.parent, classes, path.parent / "cache", input_size=size)


def test_answers_are_those_of_the_trained_module(graph, trained):
    loaded = get(graph)
    assert loaded.description == f"ONNX file {graph}, opset 17, output scores"
    assert isinstance(loaded.module, OnnxModule)
    assert loaded.module.path == graph
    assert loaded.digest == loaded.weights == file_digest(graph)
    images = torch.randn(5, 3, *SIZE)
    assert torch.allclose(loaded.module(images), trained(images), atol=1e-4)
    assert torch.equal(copy.deepcopy(loaded.module)(images), loaded.module(images))


class Viewed(nn.Module):
    """Writes the batch into a Reshape, as ``x.view(x.size(0), -1)`` does when it is traced for one size."""

    def __init__(self, inner: small_model.SmallCnn) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images):
        features = self.inner.features(images)
        return self.inner.head(features.view(features.size(0), -1))


class WithToken(Viewed):
    """A row of ones is expanded to the traced batch and added: no Reshape, so it stays fixed."""

    def forward(self, images):
        return super().forward(images) + torch.ones(1, 6).expand(images.size(0), 6).contiguous().cumsum(0)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("build", "how"), [(lambda m: m, "opened"), (Viewed, "opened in 1 Reshape nodes")], ids=["plain", "view"]
)
def test_fixed_batch_is_opened_where_that_gives_the_same_answers(trained, tmp_path, batch, build, how):
    loaded = get(write(build(trained), tmp_path / "net.onnx", batch=batch))
    assert loaded.description.endswith(f"its fixed batch of {batch} {how}")
    images = torch.randn(7, 3, *SIZE)
    assert torch.allclose(loaded.module(images), trained(images), atol=1e-4)


def test_fixed_batch_of_the_newer_exporter_is_opened(trained, tmp_path):
    """It writes the batch into every Reshape, with allowzero set."""
    path = tmp_path / "net.onnx"
    torch.onnx.export(Viewed(trained), (torch.rand(2, 3, *SIZE),), str(path), dynamo=True, external_data=False)
    loaded = get(path)
    assert "its fixed batch of 2 opened in 1 Reshape nodes" in loaded.description
    images = torch.randn(5, 3, *SIZE)
    assert torch.allclose(loaded.module(images), trained(images), atol=1e-4)


def test_fixed_batch_that_cannot_be_opened(trained, tmp_path):
    path = write(WithToken(trained), tmp_path / "net.onnx", batch=2)
    with pytest.raises(SourceInvalid, match=r"takes batches of 2 only.*export it again with a dynamic axis 0"):
        get(path)


def test_fixed_batch_names_the_node_that_holds_it(tmp_path):
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *SIZE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])
    shape = numpy_helper.from_array(np.array([1, 3], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Expand", ["means", "shape"], ["scores"], name="to_one_row"),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [images], [scores], [shape]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(SourceInvalid, match=r"may be held by Expand to_one_row"):
        get(tmp_path / "net.onnx", classes=3)


@pytest.fixture(scope="module", params=[9, 13, 18])
def of_opset(request, trained, tmp_path_factory):
    return request.param, write(trained, tmp_path_factory.mktemp("opset") / "net.onnx", opset=request.param)


def test_format_grafts_the_normalisation_and_keeps_the_opset(of_opset, reference, example, tmp_path):
    opset, path = of_opset
    contract = reference.contract
    module = wrap(get(path).module, contract.normalise)
    artifact = find_format("onnx").export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    assert artifact.details["opset"] == opset
    written = onnx.load(str(artifact.path))
    assert len(written.opset_import) == 1, "quantisers refuse a domain that stands twice"
    assert [value.name for value in (*written.graph.input, *written.graph.output)] == ["pixels", "logits"]
    axes = written.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", *SIZE, 3]
    run = find_format("onnx").session(artifact)
    for count in (1, 3, 16):
        assert np.abs(run(reference.pixels[:count]) - reference.logits[:count]).max() < 1e-4
    assert np.array_equal(run(reference.pixels), eager_network(module)(reference.pixels))
    assert str(tmp_path) not in str(written), "no path of this machine"


def test_graph_whose_names_are_ours(trained, reference, example, tmp_path):
    path = write(trained, tmp_path / "net.onnx", input_names=["pixels"], output_names=["logits"], dynamic_axes=None)
    model = onnx.load(str(path))
    model.graph.node[0].name = "pixels_nchw"
    onnx.save(model, str(path))
    module = wrap(get(path).module, reference.contract.normalise)
    artifact = find_format("onnx").export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    found = find_format("onnx").session(artifact)(reference.pixels)
    assert np.abs(found - reference.logits).max() < 1e-4


def test_half_precision_graph(trained, reference, example, tmp_path):
    path = write(copy.deepcopy(trained).half().float(), tmp_path / "net.onnx")
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(str(path))), str(path))
    loaded = get(path)
    assert loaded.module(torch.zeros(1, 3, *SIZE)).dtype == torch.float32
    module = wrap(loaded.module, reference.contract.normalise)
    artifact = find_format("onnx").export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    found = find_format("onnx").session(artifact)(reference.pixels)
    assert found.dtype == np.float32
    assert np.array_equal(found.argmax(1), reference.logits.argmax(1))


def test_external_data_travels_inside_and_counts(graph, reference, example, tmp_path):
    model = onnx.load(str(graph))
    for name, scale in (("a", 1.0), ("b", 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        head = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.weight"))
        scaled = copy.deepcopy(model)
        target = next(tensor for tensor in scaled.graph.initializer if tensor.name == head.name)
        target.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * scale, head.name))
        onnx.save(scaled, str(folder / "net.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    first, second = get(tmp_path / "a" / "net.onnx"), get(tmp_path / "b" / "net.onnx")
    assert (tmp_path / "a/net.onnx").read_bytes() == (tmp_path / "b/net.onnx").read_bytes()
    assert first.digest != second.digest, "the weights differ, though the graph's file does not"
    module = wrap(first.module, reference.contract.normalise)
    artifact = find_format("onnx").export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    assert artifact.bytes > (tmp_path / "a" / "w.bin").stat().st_size
    (tmp_path / "a" / "w.bin").unlink()
    with pytest.raises(SourceInvalid, match=r"external data"):
        get(tmp_path / "a" / "net.onnx")


class Two(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images):
        features = self.inner.features(images).flatten(1)
        return features, self.inner.head(features)


def test_several_outputs(trained, reference, example, tmp_path):
    path = write(
        Two(trained), tmp_path / "net.onnx", output_names=["features", "scores"], dynamic_axes={"images": {0: "n"}}
    )
    with pytest.raises(SourceInvalid, match=r"has 2 outputs.*features.*scores.*source.output"):
        get(path)
    with pytest.raises(SourceInvalid, match=r"no output 'scroes'; expected one of: scores"):
        get(path, output="scroes")
    with pytest.raises(SourceInvalid, match=r"does not give one logit per label.*\(2, 48\)"):
        get(path, output="features")
    module = wrap(get(path, output="scores").module, reference.contract.normalise)
    artifact = find_format("onnx").export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    assert len(onnx.load(str(artifact.path)).graph.output) == 1
    found = find_format("onnx").session(artifact)(reference.pixels)
    assert np.abs(found - reference.logits).max() < 1e-4


def tiny(shape: list, kind: int = TensorProto.FLOAT, *, opset: int = 17, inputs: int = 1) -> onnx.ModelProto:
    """Averages its first input to [N, shape[1]]."""
    given = [helper.make_tensor_value_info(f"input{i}", kind, shape) for i in range(inputs)]
    result = helper.make_tensor_value_info("scores", kind, ["n", "classes"])
    nodes = [
        helper.make_node("GlobalAveragePool", ["input0"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    graph = helper.make_graph(nodes, "g", given, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (tiny(["n", 32, 32, 3]), r"channels last \(NHWC\).*input0: float\[n, 32, 32, 3\].*channels first"),
        (tiny([1, 1, 32, 32]), "1 channels"),
        (tiny(["n", 3072]), "rank 2"),
        (tiny(["n", 3, 32, 32], TensorProto.UINT8), r"another type.*uint8\[n, 3, 32, 32\]"),
        (tiny(["n", 3, 64, 64]), r"another size.*\[n, 3, 64, 64\].*height 32, width 32"),
        (tiny(["n", 3, 32, 32], inputs=2), "does not have one input.*input0, input1"),
        (tiny(["n", 3, 32, 32], opset=6), "opset 6.*convert_version"),
        (tiny(["n", 3, "h", "w"]), r"one logit per label.*\(2, 3\) for 2 images.*6 labels"),
    ],
    ids=lambda value: value[:14] if isinstance(value, str) else "",
)
def test_graphs_that_are_no_classifier_of_images(tmp_path, model, words):
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(SourceInvalid, match=words):
        get(tmp_path / "net.onnx")


def test_train_mode_left_on(trained, tmp_path):
    module = copy.deepcopy(trained).train()
    path = tmp_path / "net.onnx"
    options = {"input_names": ["images"], "output_names": ["scores"], "dynamic_axes": {"images": {0: "n"}}}
    torch.onnx.export(
        module,
        (torch.rand(2, 3, *SIZE),),
        str(path),
        dynamo=False,
        opset_version=17,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        **options,
    )
    with pytest.raises(SourceInvalid, match=r"images of one batch influence each other.*call eval\(\)"):
        get(path)


@pytest.mark.parametrize("keep", [0, 100, 3000, -40])
def test_damaged_files(graph, tmp_path, keep):
    (tmp_path / "net.onnx").write_bytes(graph.read_bytes()[:keep])
    with pytest.raises(SourceInvalid, match=r"not a whole, valid ONNX file.*the file has \d+ bytes"):
        get(tmp_path / "net.onnx")


def test_other_files_under_the_name(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"<!DOCTYPE html><p>sign in")
    with pytest.raises(SourceInvalid, match="not a whole, valid ONNX file"):
        get(tmp_path / "net.onnx")
    nn_file = tmp_path / "net.pt"
    torch.jit.trace(nn.Flatten(), torch.zeros(2, 3, *SIZE)).save(str(nn_file))
    with pytest.raises(SourceInvalid, match=r"TorchScript archive.*name it as source.torchscript"):
        get(nn_file)


def test_operator_that_onnxruntime_does_not_have(tmp_path):
    model = tiny(["n", 3, 32, 32])
    model.graph.node[0].op_type, model.graph.node[0].domain = "MyPool", "someone.else"
    model.opset_import.append(helper.make_opsetid("someone.else", 1))
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(SourceInvalid, match=r"cannot be opened by onnxruntime.*MyPool"):
        get(tmp_path / "net.onnx", classes=3)


def test_opset_that_onnxruntime_does_not_know_yet(tmp_path):
    newest = onnx.defs.onnx_opset_version()
    onnx.save(tiny(["n", 3, 32, 32], opset=newest), tmp_path / "net.onnx")
    try:
        onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    except Exception:
        with pytest.raises(SourceInvalid, match=f"(?i)cannot be opened by onnxruntime.*opset {newest}"):
            get(tmp_path / "net.onnx", classes=3)
    else:
        assert f"opset {newest}" in get(tmp_path / "net.onnx", classes=3).description
