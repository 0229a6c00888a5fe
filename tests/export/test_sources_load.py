"""From a source to a module that answers: factories, torchvision, digests; ResNet-18 weights over real HTTP."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.sources import load
from export.sources.torchvision_shim import import_torchvision, non_maximum_suppression, shim_in_use
from samples.digits.network import build
from samples.photos.weights import random_weights
from slipway.errors import DownloadFailed, SourceInvalid
from slipway.files import sha256_file
from slipway.spec import SourceSpec
from tests.export.weights_server import serving

USER_CODE = """
import torch
from torch import nn

def good(width: int = 4):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, width))

def raises():
    raise ValueError("width must be even")

def no_module():
    return {"model": "here"}

class Pair(nn.Module):
    def forward(self, images):
        return images, images

class Infinite(nn.Module):
    def forward(self, images):
        return torch.full((len(images), 4), float("inf"))

class Fixed(nn.Module):
    def forward(self, images):
        return images.reshape(2, 3 * 7 * 7)

class Random(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images.mean((2, 3)) @ torch.ones(3, 4) + 1, training=True)

class BatchStatistics(nn.Module):
    def forward(self, images):
        scores = images.mean((2, 3)) @ torch.eye(3, 4)
        return nn.functional.batch_norm(scores.repeat(2, 1), None, None, training=True)[: len(images)]

class Probabilities(nn.Module):
    def forward(self, images):
        return (images.mean((2, 3)) @ torch.ones(3, 4)).softmax(1)

def random(): return Random()
def batch_statistics(): return BatchStatistics()
def probabilities(): return Probabilities()
def pair(): return Pair()
def infinite(): return Infinite()
def fixed(): return Fixed()
"""


DIGITS = SourceSpec(factory="samples.digits.network:build", arguments={"width": 4}, checkpoint="digits.safetensors")


def changed(source: SourceSpec, **changes) -> SourceSpec:
    return SourceSpec(**{**source.model_dump(), **changes})


@pytest.fixture
def root(tmp_path) -> Path:
    torch.manual_seed(0)
    save_file(build(4).state_dict(), tmp_path / "digits.safetensors")
    (tmp_path / "user_models_of_test.py").write_text(USER_CODE)
    return tmp_path


def get(source: SourceSpec, root: Path, classes: int = 10, size: tuple[int, int] = (32, 32)):
    return load(source, root, classes, root / "cache", input_size=size)


def test_factory_with_checkpoint(root):
    loaded = get(DIGITS, root)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert loaded.module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert loaded.description == "factory samples.digits.network:build(width=4), checkpoint digits.safetensors"


def test_digest_is_of_weights_and_architecture_not_of_the_place(root):
    loaded = get(DIGITS, root)
    save_file(build(4).state_dict(), root / "other.safetensors")
    torch.save({"state_dict": loaded.module.state_dict()}, root / "same.pt")
    assert get(changed(DIGITS, checkpoint="same.pt"), root).digest == loaded.digest
    assert get(changed(DIGITS, checkpoint="other.safetensors"), root).digest != loaded.digest


def test_half_precision_weights_become_float32(root):
    half = {name: tensor.half() for name, tensor in build(4).state_dict().items() if tensor.is_floating_point()}
    save_file(half, root / "half.safetensors")
    loaded = get(changed(DIGITS, checkpoint="half.safetensors"), root)
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}


def test_factory_from_the_project_root(root):
    loaded = get(SourceSpec(factory="user_models_of_test:good", arguments={"width": 6}), root, classes=6)
    assert loaded.description == "factory user_models_of_test:good(width=6)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "width must be even"),
        ("no_module", "returned no module"),
        ("goood", "has no function 'goood'.*for example good"),
        ("pair", "returns no tensor"),
        ("infinite", "infinite logits"),
        ("fixed", "fails on an input of shape"),
        ("random", "another answer for the same images each time"),
        ("batch_statistics", "images of one batch influence each other"),
    ],
)
def test_factories_that_fail(root, name, words):
    with pytest.raises(SourceInvalid, match=words):
        get(SourceSpec(factory=f"user_models_of_test:{name}"), root, classes=4)


def test_probabilities_are_refused_only_where_softmax_would_be_applied_to_them(root):
    source = SourceSpec(factory="user_models_of_test:probabilities")
    for activation in (None, "none", "sigmoid"):
        load(source, root, 4, root, input_size=(32, 32), activation=activation)
    with pytest.raises(SourceInvalid, match=r"gives probabilities.*postprocess.activation to none"):
        load(source, root, 4, root, input_size=(32, 32), activation="softmax")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SourceSpec(factory="no.such.package:build"), "cannot be imported"),
        (changed(DIGITS, arguments={"height": 4}), "unexpected keyword argument"),
        (changed(DIGITS, arguments={"width": 6}), r"shapes differ.*\(4, 3, 3, 3\) for \(6, 3, 3, 3\)"),
        (changed(DIGITS, checkpoint="absent.pt"), "there is no file where the source points"),
        (SourceSpec(torchvision="resnet18"), "has no checkpoint"),
        (SourceSpec(torchvision="resnet81", checkpoint="digits.safetensors"), "resnet18"),
        (SourceSpec(torchvision="resnet18", arguments={"weights": "DEFAULT"}), "source.checkpoint only"),
        (SourceSpec(torchvision="resnet18", arguments={"widht": 2}), "cannot be built"),
        (SourceSpec(torchvision="resnet18", checkpoint="digits.safetensors"), "names differ.*missing.*unexpected"),
    ],
)
def test_sources_that_are_wrong(root, source, words):
    with pytest.raises(SourceInvalid, match=words):
        get(source, root)


def test_wrong_number_of_classes_is_found_by_a_forward_pass(root):
    with pytest.raises(SourceInvalid, match=r"output \(2, 10\).*12 labels"):
        get(DIGITS, root, classes=12)


def test_resnet18_over_http(tmp_path):
    folder = tmp_path / "www"
    random_weights("resnet18", folder / "resnet18.safetensors", seed=18)
    digest = sha256_file(folder / "resnet18.safetensors")
    with serving(folder) as server:
        source = SourceSpec(
            torchvision="resnet18", checkpoint=f"{server.url}/resnet18.safetensors?token=x", sha256=digest
        )
        loaded = load(source, tmp_path, 1000, tmp_path / "cache")
        assert loaded.description.startswith("torchvision resnet18(num_classes=1000), checkpoint http://127.0.0.1:")
        assert "token" not in loaded.description
        local = load(changed(source, checkpoint="www/resnet18.safetensors"), tmp_path, 1000, tmp_path / "cache")
        assert local.digest == loaded.digest
        images = torch.rand(2, 3, 224, 224)
        assert torch.equal(loaded.module(images), local.module(images))
        for broken in (f"{server.url}/absent", f"{server.url}/truncated/resnet18.safetensors"):
            with pytest.raises(DownloadFailed):
                load(changed(source, checkpoint=broken, sha256=None), tmp_path, 1000, tmp_path / "cache")
        with pytest.raises(DownloadFailed, match="not the declared file"):
            load(
                changed(source, checkpoint=f"{server.url}/resnet18.safetensors", sha256="0" * 64),
                tmp_path,
                1000,
                folder,
            )
        with pytest.raises(SourceInvalid, match=r"shapes differ.*fc\.weight"):
            load(source, tmp_path, 10, tmp_path / "cache")


def test_shim_is_used_only_beside_a_cpu_build():
    torchvision = import_torchvision()
    assert shim_in_use() == (not torchvision.extension._has_ops())


def test_nms_of_the_shim():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [20, 20, 30, 30.5]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.05])
    assert non_maximum_suppression(boxes, scores, 0.5).tolist() == [1, 2]
    assert non_maximum_suppression(boxes, scores, 0.99).tolist() == [1, 0, 2, 3]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).shape == (0,)
    assert import_torchvision().ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
