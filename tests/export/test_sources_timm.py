"""timm builders: a real small network, its weights from a file and from a hub that runs here, never silently."""

import pytest
import torch
from safetensors.torch import save_file

from export.sources import load
from export.sources.timm_builder import build_from_timm, timm_weights
from slipway.errors import SourceInvalid
from slipway.files import sha256_file
from slipway.spec import SourceSpec
from tests.export.weights_server import serving

NAME = "mobilenetv3_small_050"
SIZE = (64, 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A hub's folder with random weights of the network for 1000 classes."""
    torch.manual_seed(0)
    module, _ = build_from_timm(NAME, {}, 1000)
    folder = tmp_path_factory.mktemp("hub") / "timm" / f"{NAME}.lamb_in1k" / "resolve" / "main"
    folder.mkdir(parents=True)
    save_file(module.state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def test_checkpoint(weights, tmp_path):
    source = SourceSpec(timm=NAME, checkpoint=str(weights), arguments={"drop_rate": 0.2})
    loaded = load(source, tmp_path, 1000, tmp_path / "cache", input_size=SIZE)
    assert loaded.description == f"timm {NAME}(drop_rate=0.2, num_classes=1000), checkpoint {weights}"
    assert loaded.file_digest == loaded.weights == sha256_file(weights)
    assert loaded.module(torch.zeros(3, 3, *SIZE)).shape == (3, 1000)


def test_published_weights_come_through_our_own_download(weights, tmp_path, monkeypatch):
    with serving(weights.parents[4]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
        source = SourceSpec(timm=NAME, weights="lamb_in1k")
        loaded = load(source, tmp_path, 1000, tmp_path / "cache", input_size=SIZE)
        assert hub.requests == [f"/timm/{NAME}.lamb_in1k/resolve/main/model.safetensors"]
    assert loaded.description == f"timm {NAME}(num_classes=1000), weights lamb_in1k"
    local = load(SourceSpec(timm=NAME, checkpoint=str(weights)), tmp_path, 1000, tmp_path / "cache", input_size=SIZE)
    assert (local.digest, local.weights) == (loaded.digest, loaded.weights)


def test_published_weights_of_other_classes_do_not_fit(weights, tmp_path, monkeypatch):
    with serving(weights.parents[4]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(SourceInvalid, match=r"shapes differ.*classifier\.weight \(1000, 1024\) for \(10, 1024\)"):
            load(SourceSpec(timm=NAME, weights="lamb_in1k"), tmp_path, 10, tmp_path / "cache", input_size=SIZE)


def test_the_usual_hub(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    expected = "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
    assert timm_weights("resnet10t", "c3_in1k") == ("c3_in1k", expected)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"timm": NAME}, "has no checkpoint: its weights would be random"),
        ({"timm": "mobilenetv3_small_05"}, "mobilenetv3_small_050"),
        ({"timm": f"{NAME}.lamb_in1k"}, f"timm: {NAME}, and weights: lamb_in1k"),
        ({"timm": "hf-hub:someone/model"}, "names a place"),
        ({"timm": NAME, "arguments": {"pretrained": True}}, "source.arguments.pretrained"),
        ({"timm": NAME, "arguments": {"checkpoint_path": "/x.pth"}}, "source.arguments.checkpoint_path"),
        ({"timm": NAME, "arguments": {"widht": 3}}, "cannot be built.*widht"),
        ({"timm": NAME, "weights": "a1_in1k"}, "no weights 'a1_in1k'.*one of lamb_in1k"),
        ({"timm": "eva_large_patch14_336", "weights": "no_such_tag"}, "no weights 'no_such_tag'"),
        ({"timm": "vit_base_patch8_224", "weights": "augreg_in21k"}, "one of|own converter"),
    ],
)
def test_timm_sources_that_are_wrong(tmp_path, source, words):
    with pytest.raises(SourceInvalid, match=words):
        load(SourceSpec(**source), tmp_path, 10, tmp_path / "cache", input_size=SIZE)
