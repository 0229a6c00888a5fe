"""Checkpoint files: every honest form is read, pickled code never runs, and what does not fit is named."""

import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.sources.checkpoint import read_checkpoint
from export.sources.state import load_state
from slipway.errors import SourceInvalid


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return small().state_dict()


def small(width: int = 4) -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, width, 3), norm=nn.BatchNorm2d(width), head=nn.Conv2d(width, 2, 1))
    )


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights", "weights.bin"])
def test_safetensors_by_content(tmp_path, state, name):
    save_file(state, tmp_path / name)
    assert same(read_checkpoint(tmp_path / name), state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
    ],
    ids=["plain", "state_dict", "model", "DistributedDataParallel", "compiled"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_files(tmp_path, state, wrap, zipped):
    torch.save(wrap(dict(state)), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_checkpoint(tmp_path / "w.pth"), dict(state))


def test_a_layer_called_module_keeps_its_name(tmp_path):
    tensors = {"module.weight": torch.ones(1), "head.weight": torch.ones(1)}
    torch.save(tensors, tmp_path / "w.pt")
    assert same(read_checkpoint(tmp_path / "w.pt"), tensors)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_pickled_code_is_refused_and_does_not_run(tmp_path, save):
    save({"weight": Payload(str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    with pytest.raises(SourceInvalid, match="state_dict"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_whole_module_is_refused(tmp_path):
    torch.save(small(), tmp_path / "module.pt")
    with pytest.raises(SourceInvalid, match=r"pickled Python objects.*save its state_dict"):
        read_checkpoint(tmp_path / "module.pt")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><p>sign in", b"\0" * 100, b"PK\x03\x04 not a zip", b"\x80"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(SourceInvalid):
        read_checkpoint(tmp_path / "w.pt")


def test_truncated_files_are_refused(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    torch.save(dict(state), tmp_path / "w.pt")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pt"):
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(SourceInvalid, match="not a"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "words"), [([1, 2], "no state_dict"), ({"epoch": 3}, "'epoch' is not a tensor"), ({}, "no tensors")]
)
def test_torch_files_without_a_state_dict(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SourceInvalid, match=words):
        read_checkpoint(tmp_path / "w.pt")


def test_state_is_copied(state):
    module = small()
    load_state(module, state, "w.pt")
    assert same(dict(module.state_dict()), dict(state))


def test_counter_of_batches_may_be_missing(state):
    del state["norm.num_batches_tracked"]
    load_state(small(), state, "w.pt")


def test_renamed_layer_is_shown_with_its_nearest_name(state):
    state["head.wieght"] = state.pop("head.weight")
    with pytest.raises(SourceInvalid) as caught:
        load_state(small(), state, "w.pt")
    assert "1 missing: head.weight (nearest: head.wieght)" in str(caught.value)
    assert "1 unexpected: head.wieght (nearest: head.weight)" in str(caught.value)


def test_other_shapes_are_listed():
    with pytest.raises(SourceInvalid) as caught:
        load_state(small(4), small(8).state_dict(), "w.pt")
    assert "conv.weight (8, 3, 3, 3) for (4, 3, 3, 3)" in str(caught.value)
    assert ", ..." in str(caught.value)


def test_weights_that_are_not_numbers_are_refused(state):
    state["conv.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(SourceInvalid, match=r"NaN.*conv\.weight"):
        load_state(small(), state, "w.pt")
