"""The ``source`` section: which keys go together, and what a copy keeps."""

import pytest
from pydantic import ValidationError

from slipway.spec import SourceSpec

FACTORY = {"factory": "a.b:c"}


@pytest.mark.parametrize(
    ("keys", "location"),
    [
        ({"factory": "a.b:c"}, None),
        ({**FACTORY, "checkpoint": "w.pt"}, "w.pt"),
        ({"torchvision": "resnet18", "weights": "IMAGENET1K_V1"}, None),
        (
            {"timm": "resnet10t", "checkpoint": "https://host/w.safetensors", "sha256": "0" * 64},
            "https://host/w.safetensors",
        ),
        ({"onnx": "a.onnx", "output": "scores"}, "a.onnx"),
        ({"torchscript": "models:/a/3", "tracking_uri": "http://host"}, "models:/a/3"),
        ({"mlflow": "models:/a@b", "allow_pickle": True, "artifact": "data/model.pth"}, "models:/a@b"),
        ({**FACTORY, "mlflow": "models:/a@b"}, "models:/a@b"),
        ({"package": "onnx", "file": "a/b.onnx"}, "package:onnx/a/b.onnx"),
        ({"timm": "resnet10t", "package": "p", "file": "w.safetensors"}, "package:p/w.safetensors"),
    ],
)
def test_sources_that_are_whole(keys, location):
    assert SourceSpec(**keys).location == location


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "exactly one of factory, torchvision and timm, or a file"),
        ({"checkpoint": "w.pt"}, "checkpoint needs a builder"),
        ({**FACTORY, "timm": "resnet10t"}, "one of factory, timm: each of them builds"),
        ({**FACTORY, "checkpoint": "w.pt", "mlflow": "models:/a/1"}, "one of checkpoint, mlflow: each of them names"),
        ({**FACTORY, "onnx": "a.onnx"}, "onnx is a whole network: remove factory"),
        ({**FACTORY, "weights": "DEFAULT"}, "published for torchvision and timm"),
        ({**FACTORY, "output": "logits"}, "output chooses among"),
        ({"package": "onnx"}, "package and file belong together"),
        ({**FACTORY, "file": "a.onnx"}, "package and file belong together"),
        ({"onnx": "a.onnx", "tracking_uri": "http://host"}, "tracking_uri is for an MLflow version"),
        ({**FACTORY, "checkpoint": "w.pt", "allow_pickle": True}, "allow_pickle is for an MLflow version"),
        ({"onnx": "a.onnx", "arguments": {"width": 3}}, "arguments are for a builder"),
        ({"mlflow": "runs:/abc/model"}, "should match pattern"),
        ({"torchscrit": "a.pt"}, "Extra inputs"),
    ],
)
def test_sources_that_contradict_themselves(keys, words):
    with pytest.raises(ValidationError, match=words):
        SourceSpec(**keys)


def test_another_file_takes_the_place_of_the_one_named():
    published = SourceSpec(torchvision="resnet18", weights="IMAGENET1K_V1", sha256="0" * 64).with_file("mine.pt")
    assert (published.checkpoint, published.weights, published.sha256) == ("mine.pt", None, None)
    graph = SourceSpec(onnx="a.onnx", output="scores").with_file("b")
    assert (graph.onnx, graph.output, graph.checkpoint) == ("b", "scores", None)
    registered = SourceSpec(mlflow="models:/a@b", tracking_uri="http://host", allow_pickle=True).with_file("b.onnx")
    assert (registered.onnx, registered.mlflow, registered.allow_pickle) == ("b.onnx", None, False)
    packed = SourceSpec(timm="resnet10t", package="p", file="w.pt").with_file("w2.pt")
    assert (packed.checkpoint, packed.package, packed.file) == ("w2.pt", None, None)
    for each in (published, graph, packed):
        assert SourceSpec(**each.model_dump()) == each, "it is a valid source"


def test_what_a_source_is_does_not_name_its_place():
    here = SourceSpec(factory="a.b:c", checkpoint="w.pt")
    there = SourceSpec(factory="a.b:c", mlflow="models:/a@b", tracking_uri="http://me:hunter2@host")
    assert here.without_place() == there.without_place()
    assert "hunter2" not in there.without_place().model_dump_json()
    assert here.without_place() != SourceSpec(factory="a.b:d", checkpoint="w.pt").without_place()
