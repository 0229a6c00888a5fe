"""Specs and settings: mistakes are shown by file, line and key."""

from pathlib import Path

import pytest

from slipway import errors
from slipway.settings import Settings
from slipway.spec import ModelSpec, load_model_spec

GOOD = """\
model: digits
source:
  factory: samples.digits.model:build
  checkpoint: var/base.safetensors
input:
  height: 32
  width: 32
  resize: stretch
labels: ["0", "1", "2"]
postprocess: {top_k: 3}
samples: var/images
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text(text)
    return path


def test_defaults_and_contract(tmp_path: Path) -> None:
    spec = ModelSpec.load(write(tmp_path, GOOD))
    contract = spec.contract(tmp_path)
    assert contract.network.model == "digits.onnx"
    assert contract.preprocess.resize_to == 32
    assert spec.served_networks == ("onnx",)
    assert spec.digest() == ModelSpec.load(write(tmp_path, GOOD)).digest()
    assert contract.from_dict(__import__("json").loads(contract.to_json())) == contract


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  height: 32", "  heigth: 32", r"digits.yaml:6: input.heigth: unknown key; did you mean 'height'"),
        ("  width: 32\n", "", r"digits.yaml:5: input.width: required key is missing"),
        ("resize: stretch", "resize: squash", r"digits.yaml:8: input.resize: .*squash"),
        ("  height: 32", "  height: 32\n  height: 33", r"digits.yaml:7: height: the key stands twice"),
        ("  height: 32", "  height: [", r"digits.yaml:\d+: not valid YAML"),
        ("  factory: samples.digits.model:build\n", "", "exactly one of factory, torchvision and timm"),
        ('"0", "1"', '"0", "0"', "a label stands twice"),
        ("samples:", "formats: [onnx, onnx]\nsamples:", "formats: one stands twice"),
        ('["0", "1", "2"]', "[0, 1]", r"digits.yaml:9: labels"),
        ("model: digits", "model: &a {x: *a}", "nested too deeply"),
        ("samples:", "serve: torch-export\nsamples:", "cannot be served"),
        ("model: digits", "model: Digits.v1", r"digits.yaml:1: model"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(errors.SpecInvalid, match=words):
        ModelSpec.load(write(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("change", ["input.height=[1", "input.height", "model.x=1", "input.height=tall"])
def test_wrong_changes(tmp_path: Path, change: str) -> None:
    with pytest.raises(errors.SpecInvalid):
        ModelSpec.load(write(tmp_path, GOOD)).changed([change])


def test_top_k_beyond_the_labels(tmp_path: Path) -> None:
    spec = ModelSpec.load(write(tmp_path, GOOD.replace("top_k: 3", "top_k: 4")))
    with pytest.raises(errors.SpecInvalid, match="top_k"):
        spec.contract(tmp_path)


def test_an_unknown_model_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config/models").mkdir(parents=True)
    write(tmp_path / "config/models", GOOD)
    settings = Settings(root=tmp_path)
    assert load_model_spec("digits", settings).model == "digits"
    with pytest.raises(errors.SpecNotFound, match="digits"):
        load_model_spec("digit", settings)


def test_settings_from_file_and_environment(tmp_path: Path) -> None:
    folder = tmp_path / "config/environments"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text("http_port: 9000\ndrain_seconds: 5\n")
    environ = {"SLIPWAY_ROOT": str(tmp_path), "SLIPWAY_DRAIN_SECONDS": "7"}
    settings = Settings.load(environ)
    assert (settings.http_port, settings.drain_seconds) == (9000, 7.0)
    assert settings.ports_are_explicit
    assert settings.repository == tmp_path / "model_repository"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SLIPWAY_HTTP_PORT": "many"}, "SLIPWAY_HTTP_PORT"),
        ({"SLIPWAY_HTPP_PORT": "1"}, "unknown setting"),
        ({"SLIPWAY_ENVIRONMENT": "nowhere"}, "nowhere.yaml"),
        ({"SLIPWAY_HTTP_PORT": "8001"}, "are the same"),
    ],
)
def test_wrong_settings(tmp_path: Path, environ: dict, words: str) -> None:
    with pytest.raises(errors.SettingsInvalid, match=words):
        Settings.load({"SLIPWAY_ROOT": str(tmp_path), **environ})


def test_only_these_formats_and_the_served_one_among_them(tmp_path: Path) -> None:
    spec = ModelSpec.load(write(tmp_path, GOOD))
    assert spec.only(["torch-export", "torchscript"]).serve == "torchscript"
    assert spec.only(["torchscript", "onnx", "onnx"]).formats == ("torchscript", "onnx")
    assert spec.only(["torchscript", "onnx"]).serve == "onnx"
    assert spec.only(["torch-export"]).serve == "onnx"  # for a dry run alone
    with pytest.raises(errors.SpecInvalid, match="did you mean torchscript"):
        spec.only(["torchscipt"])


def test_a_format_to_serve_is_exported_beside_the_others(tmp_path: Path) -> None:
    spec = ModelSpec.load(write(tmp_path, GOOD.replace("samples:", "formats: [onnx]\nsamples:")))
    other = spec.served_as("torchscript")
    assert (other.formats, other.serve) == (("onnx", "torchscript"), "torchscript")
    assert other.contract(tmp_path).network.model == "digits.torchscript"
    assert other.changed(["serving.instances=2"]).serve == "torchscript"
    with pytest.raises(errors.SpecInvalid, match="cannot be served"):
        spec.served_as("torch-export")
