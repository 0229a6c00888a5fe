"""Whole exports of files that are networks: every gate passes, and the version answers as the file does."""

import json

import numpy as np
import onnx
import pytest
import torch

from export.formats.origin import check_formats
from export.identity import checkpoint_digest, export_identity
from export.run import export_model
from export.sources import load
from handlers.networks import open_network
from slipway.errors import ExportFailed, GateFailed, SourceInvalid
from slipway.files import sha256_file
from slipway.settings import Settings
from slipway.spec import ModelSpec, SourceSpec
from tests.export import small_model
from tests.export.conftest import SPEC
from tests.export.weights_server import serving

SIZE = (small_model.SIZE, small_model.SIZE)


@pytest.fixture(scope="module")
def files(trained, project):
    """The trained network as an ONNX file of one image and as TorchScript, in the project."""
    images = torch.rand(1, 3, *SIZE)
    onnx_options = {"input_names": ["images"], "output_names": ["scores"], "dynamo": False, "opset_version": 13}
    torch.onnx.export(trained, (images,), str(project / "net.onnx"), **onnx_options)
    torch.jit.script(trained).save(str(project / "net.pt"))
    return {"onnx": "net.onnx", "torchscript": "net.pt"}


def spec_of(source: dict, formats: list[str], **keys) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, "source": source, "formats": formats, "serve": formats[0], **keys})


@pytest.mark.parametrize(
    ("key", "formats"), [("onnx", ["onnx", "openvino"]), ("torchscript", ["onnx", "torchscript", "torch-export"])]
)
def test_published_and_found_again(files, settings: Settings, reference, key, formats):
    spec = spec_of({key: files[key]}, formats)
    result = export_model(spec, settings)
    assert result.published
    assert all(gate["passed"] for gate in result.gates)
    assert {gate["format"] for gate in result.gates} >= set(formats)
    run = open_network(settings.repository / "small.onnx" / str(result.version) / "model.onnx")
    assert np.abs(run(reference.pixels) - reference.logits).max() < 1e-4
    if key == "onnx":
        assert [entry["details"]["opset"] for entry in result.formats if entry["format"] == "onnx"] == [13]
        assert "opset 13, output scores, its fixed batch of 1 opened" in json.dumps(result.evidence)
    assert export_model(spec, settings).unchanged


def test_wrong_graph_is_stopped_by_a_gate(files, project, settings):
    """The channels of the first layer swapped in the user's file: a valid graph, and a worse model."""
    model = onnx.load(str(project / "net.onnx"))
    first = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    swapped = onnx.numpy_helper.to_array(first)[:, ::-1].copy()
    first.CopyFrom(onnx.numpy_helper.from_array(swapped, first.name))
    onnx.save(model, str(project / "swapped.onnx"))
    with pytest.raises(GateFailed) as caught:
        export_model(spec_of({"onnx": "swapped.onnx"}, ["onnx"]), settings)
    failed = {gate["name"] for gate in caught.value.evidence["gates"] if not gate["passed"]}
    assert "task" in failed, "it agrees with itself; only labels can tell"


@pytest.mark.parametrize("name", ["torchscript", "torch-export"])
def test_formats_that_start_from_torch_code(files, project, settings, name):
    spec = spec_of({"onnx": files["onnx"]}, ["onnx", name])
    with pytest.raises((ExportFailed, SourceInvalid), match=rf"(?s)ONNX source.*remove {name} from formats"):
        export_model(spec, settings)
    loaded = load(spec.source, project, len(small_model.LABELS), project, input_size=SIZE)
    with pytest.raises(SourceInvalid, match=rf"cannot give {name}.*formats such as onnx"):
        check_formats(loaded.module, spec.formats)
    check_formats(loaded.module, ["onnx", "openvino"])


def identity(source: SourceSpec, project, weights: str):
    spec = spec_of(source.model_dump(exclude_defaults=True), ["onnx"])
    return export_identity(spec, spec.contract(project), project, "images", weights)


def test_digest_of_the_file_is_known_without_loading_it(files, project, tmp_path):
    local = spec_of({"onnx": "net.onnx"}, ["onnx"])
    digest = sha256_file(project / "net.onnx")
    assert checkpoint_digest(local, project) == digest
    with serving(project) as server:
        url = spec_of({"onnx": f"{server.url}/net.onnx?token=hunter2"}, ["onnx"])
        assert checkpoint_digest(url, project) is None, "nothing is fetched where there is no cache to keep it"
        assert checkpoint_digest(url, project, tmp_path) == digest
        assert checkpoint_digest(url, project, tmp_path) == digest
        assert len(list(tmp_path.glob("*.onnx"))) == 1
        declared = spec_of({"onnx": f"{server.url}/net.onnx", "sha256": "1" * 64}, ["onnx"])
        assert checkpoint_digest(declared, project, tmp_path) == "1" * 64, "believed; loading verifies it"
        assert identity(url.source, project, digest) == identity(local.source, project, digest)
        assert "hunter2" not in json.dumps(identity(url.source, project, digest))
    assert checkpoint_digest(spec_of({"factory": "tests.export.small_model:build"}, ["onnx"]), project) is None
    assert checkpoint_digest(spec_of({"torchvision": "resnet18", "weights": "DEFAULT"}, ["onnx"]), project) is None


def test_same_weights_from_anywhere_are_one_identity(project):
    factory = {"factory": "tests.export.small_model:build"}
    here = SourceSpec(**factory, checkpoint="weights.pt")
    there = SourceSpec(**factory, mlflow="models:/small@champion", tracking_uri="http://me:hunter2@host")
    assert identity(here, project, "w") == identity(there, project, "w")
    other = SourceSpec(factory="tests.export.small_model:build", arguments={"classes": 6}, checkpoint="weights.pt")
    assert identity(here, project, "w") != identity(other, project, "w")
