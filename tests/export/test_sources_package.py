"""Files inside installed packages: a real wheel, installed by pip, that must not be imported; and onnx's own files."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from export.sources import load
from export.sources.package_file import from_package
from samples.digits.network import build
from slipway.errors import SourceInvalid
from slipway.spec import SourceSpec


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A wheel ``slipway-test-models`` with weights, installed beside the environment's packages."""
    folder = tmp_path_factory.mktemp("wheel")
    torch.manual_seed(0)
    scripted = folder / "net.pt"
    torch.jit.trace(build(4).eval(), torch.zeros(2, 3, 32, 32)).save(str(scripted))
    info = "slipway_test_models-1.0.dist-info"
    files = {
        "slipway_test_models/__init__.py": b"raise RuntimeError('imported')",
        "slipway_test_models/data/digits.safetensors": save(build(4).state_dict()),
        "slipway_test_models/data/digits.pt": scripted.read_bytes(),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: slipway-test-models\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    wheel = folder / "slipway_test_models-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, content)
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    return site


@pytest.fixture(autouse=True)
def _on_the_path(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))


@pytest.mark.parametrize("name", ["slipway_test_models", "slipway-test-models"])
@pytest.mark.parametrize("inside", ["data/digits.safetensors", "slipway_test_models/data/digits.safetensors"])
def test_a_file_is_found_by_both_names_of_its_package(installed, name, inside):
    found = from_package(f"package:{name}/{inside}")
    assert found.resolve() == (installed / "slipway_test_models/data/digits.safetensors").resolve()
    assert "slipway_test_models" not in sys.modules


def test_weights_and_whole_networks(tmp_path):
    weights = SourceSpec(
        factory="samples.digits.network:build",
        arguments={"width": 4},
        package="slipway_test_models",
        file="data/digits.safetensors",
    )
    loaded = load(weights, tmp_path, 10, tmp_path, input_size=(32, 32))
    assert loaded.description.endswith("checkpoint package:slipway_test_models/data/digits.safetensors")
    network = SourceSpec(package="slipway_test_models", file="data/digits.pt")
    scripted = load(network, tmp_path, 10, tmp_path, input_size=(32, 32))
    assert scripted.description == "TorchScript file package:slipway_test_models/data/digits.pt"
    assert "slipway_test_models" not in sys.modules


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("package:slipway_test_model/x", "not installed here.*slipway-test-models"),
        ("package:slipway_test_models/digits.onnx", "no file 'digits.onnx'.*data/digits.pt"),
        ("package:slipway_test_models/../secret", "wrong form"),
        ("package:slipway_test_models//etc/passwd", "wrong form"),
        ("package:slipway_test_models", "wrong form"),
        ("package:slipway_test_models/data", "no file 'data'"),
    ],
)
def test_files_that_are_not_there(location, words):
    with pytest.raises(SourceInvalid, match=words):
        from_package(location)


def test_weights_alone_need_a_builder(tmp_path):
    source = SourceSpec(package="slipway_test_models", file="data/digits.safetensors")
    with pytest.raises(SourceInvalid, match=r"no whole network.*add the builder"):
        load(source, tmp_path, 10, tmp_path, input_size=(32, 32))


def test_a_graph_of_an_installed_package(tmp_path):
    """ShuffleNet as onnx ships it: opset 9, IR 3 (initialisers among the inputs), one image, 33 fixed Reshape nodes."""
    source = SourceSpec(package="onnx", file="backend/test/data/light/light_shufflenet.onnx")
    loaded = load(source, tmp_path, 1000, tmp_path)
    assert loaded.description.endswith("its fixed batch of 1 opened in 33 Reshape nodes")
    assert loaded.module(torch.zeros(3, 3, 224, 224)).shape == (3, 1000)
    with pytest.raises(SourceInvalid, match=r"gives probabilities.*set postprocess.activation to none"):
        load(source, tmp_path, 1000, tmp_path, activation="softmax")
    light = Path(source.file).with_name("light_squeezenet.onnx").as_posix()
    with pytest.raises(SourceInvalid, match=r"\(2, 1000, 1, 1\).*flatten the output"):
        load(SourceSpec(package="onnx", file=light), tmp_path, 1000, tmp_path)
