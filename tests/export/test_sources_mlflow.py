"""MLflow registries: a real local store, written by MLflow's own flavours and read by its own client."""

import os

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from export.sources import load
from export.sources.location import locate
from samples.digits.network import build
from slipway.errors import DownloadFailed, SourceInvalid
from slipway.spec import SourceSpec

BUILDER = {"factory": "samples.digits.network:build", "arguments": {"width": 4}}
SIZE = (32, 32)


@pytest.fixture(scope="module", autouse=True)
def _file_store():
    """MLflow keeps its file store for those who ask for it; a server would need packages that are not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return build(4).eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory, trained, _file_store):
    """A project with the registry ``mlruns``: one model a flavour, and one with several files."""
    import mlflow.onnx
    import mlflow.pytorch

    root = tmp_path_factory.mktemp("registry")
    images = torch.rand(2, 3, *SIZE)
    folders = {
        name: root / "saved" / name for name in ("onnx", "pt2", "script", "pickle", "weights", "several", "text")
    }
    for name in ("weights", "several", "text"):
        folders[name].mkdir(parents=True)
    torch.onnx.export(
        trained,
        (images,),
        str(root / "net.onnx"),
        dynamo=False,
        input_names=["images"],
        output_names=["scores"],
        dynamic_axes={"images": {0: "n"}},
    )
    plain = {"pip_requirements": []}
    mlflow.onnx.save_model(onnx.load(str(root / "net.onnx")), str(folders["onnx"]), **plain)
    signature = mlflow.models.infer_signature(images.numpy(), np.zeros((2, 10), np.float32))
    mlflow.pytorch.save_model(
        trained,
        str(folders["pt2"]),
        serialization_format="pt2",
        input_example=images.numpy(),
        signature=signature,
        **plain,
    )
    scripted = torch.jit.trace(trained, images)
    mlflow.pytorch.save_model(scripted, str(folders["script"]), serialization_format="pickle", **plain)
    mlflow.pytorch.save_model(trained, str(folders["pickle"]), serialization_format="pickle", **plain)
    save_file(trained.state_dict(), folders["weights"] / "digits.safetensors")
    for name in ("best.safetensors", "last.safetensors"):
        save_file(trained.state_dict(), folders["several"] / name)
    (folders["text"] / "notes.txt").write_text("nothing here")

    client = mlflow.MlflowClient(tracking_uri=(root / "mlruns").as_uri())
    experiment = client.create_experiment("tests")
    for name, folder in folders.items():
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(folder), "model")
        client.create_registered_model(name)
        client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("onnx", "champion", "1")
    client.set_registered_model_alias("weights", "champion", "1")
    return root


def get(root, location: str, cache, **keys):
    source = SourceSpec(mlflow=location, tracking_uri="mlruns", **keys)
    return load(source, root, 10, cache, input_size=SIZE)


@pytest.mark.parametrize(
    ("location", "keys", "description"),
    [
        ("models:/onnx@champion", {}, "ONNX file models:/onnx@champion (version 1), opset"),
        ("models:/pt2/1", {}, "torch.export program models:/pt2/1"),
        ("models:/script/1", {}, "TorchScript file models:/script/1"),
        (
            "models:/weights@champion",
            BUILDER,
            "factory samples.digits.network:build(width=4), checkpoint models:/weights@",
        ),
        ("models:/several/1", {**BUILDER, "artifact": "best.safetensors"}, "factory samples.digits.network:build"),
        ("models:/pickle/1", {"allow_pickle": True}, "pickled module models:/pickle/1, unpickled because"),
    ],
)
def test_flavours(root, tmp_path, trained, location, keys, description):
    loaded = get(root, location, tmp_path, **keys)
    assert loaded.description.startswith(description)
    images = torch.rand(3, 3, *SIZE)
    assert torch.allclose(loaded.module(images), trained(images), atol=1e-5)


def test_the_same_weights_from_a_registry_are_the_same_weights(root, tmp_path):
    registered = get(root, "models:/weights/1", tmp_path, **BUILDER)
    file = root / "saved" / "weights" / "digits.safetensors"
    local = load(SourceSpec(**BUILDER, checkpoint=str(file)), root, 10, tmp_path, input_size=SIZE)
    assert (registered.digest, registered.weights) == (local.digest, local.weights)


def test_a_pickled_module_is_refused_unless_it_is_allowed_by_name(root, tmp_path):
    with pytest.raises(SourceInvalid, match=r"pickled Python module.*source.allow_pickle: true"):
        get(root, "models:/pickle/1", tmp_path)
    with pytest.raises(SourceInvalid, match=r"model\.pth holds pickled Python objects"):
        get(root, "models:/pickle/1", tmp_path, **BUILDER)


def test_allowing_pickle_leaves_the_environment_as_it_was(root, tmp_path):
    before = dict(os.environ)
    get(root, "models:/pickle/1", tmp_path, allow_pickle=True)
    assert dict(os.environ) == before


def test_a_version_is_fetched_once_and_again_when_its_copy_is_damaged(root, tmp_path):
    first = locate("models:/weights/1", root, tmp_path, tracking_uri="mlruns")
    stamp = first.path.stat().st_mtime_ns
    assert locate("models:/weights/1", root, tmp_path, tracking_uri="mlruns").path.stat().st_mtime_ns == stamp
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-9])
    assert locate("models:/weights@champion", root, tmp_path, tracking_uri="mlruns").path.read_bytes() == whole
    assert [path.name for path in (tmp_path / "mlflow").iterdir()] == [first.path.parent.name], "nothing half done"


@pytest.mark.parametrize(
    ("location", "keys", "words"),
    [
        ("models:/wieghts/1", BUILDER, "has no model 'wieghts'.*one of its 7 models, for example weights"),
        ("models:/weights/7", BUILDER, r"weights has no version 7; expected one of: 1"),
        ("models:/weights@chmpion", BUILDER, r"no alias 'chmpion'; expected one of: champion \(version 1\)"),
        ("models:/script@champion", {}, "expected one of: none"),
        ("models:/wieghts@champion", BUILDER, "has no model 'wieghts'"),
        ("models:/weights/Production", BUILDER, "not the address of an MLflow version.*set an alias"),
        ("models:/weights/latest", BUILDER, "not the address of an MLflow version"),
        ("models:/several/1", BUILDER, "several files could be the model.*best.safetensors.*source.artifact"),
        ("models:/several/1", {**BUILDER, "artifact": "bset.safetensors"}, "no file 'bset.*best.safetensors"),
        ("models:/several/1", {**BUILDER, "artifact": "../../meta.yaml"}, "has no file"),
        ("models:/text/1", {}, "no file could be the model.*notes.txt"),
        ("models:/weights/1", {}, "no whole network.*add the builder"),
        ("models:/onnx/1", BUILDER, "is an ONNX file: a whole network.*remove the builder"),
        ("models:/weights/1", {**BUILDER, "sha256": "0" * 64}, "not the declared file"),
    ],
)
def test_versions_that_cannot_be_used(root, tmp_path, location, keys, words):
    with pytest.raises((SourceInvalid, DownloadFailed), match=words):
        get(root, location, tmp_path, **keys)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://me:hunter2@127.0.0.1:9", r"registry at http://127.0.0.1:9 did not give.*refused"),
        ("nosuch://me:hunter2@host", "did not give the version"),
    ],
)
def test_registries_that_do_not_answer(tmp_path, uri, words):
    with pytest.raises(DownloadFailed, match=words) as caught:
        locate("models:/a/1", tmp_path, tmp_path, tracking_uri=uri)
    assert "hunter2" not in str(caught.value)


def test_which_registry(root, tmp_path, monkeypatch):
    with pytest.raises(SourceInvalid, match="MLFLOW_TRACKING_URI"):
        locate("models:/weights/1", root, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (root / "mlruns").as_uri())
    assert locate("models:/weights/1", root, tmp_path).path.name == "digits.safetensors"
