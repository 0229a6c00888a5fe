"""TorchScript and torch.export files as sources: what loading runs, every format of them, and damaged ones."""

import os
import pickle
import zipfile

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.formats.base import ExportOptions
from export.formats.registry import find_format
from export.sources import load
from export.sources.kind import file_digest
from export.wrap import wrap
from slipway.errors import SourceInvalid
from slipway.spec import SourceSpec
from tests.export import small_model

SIZE = (small_model.SIZE, small_model.SIZE)
CLASSES = len(small_model.LABELS)


def get(path, key: str = "torchscript"):
    return load(SourceSpec(**{key: str(path)}), path.parent, CLASSES, path.parent / "cache", input_size=SIZE)


def saved(trained: nn.Module, way: str, path):
    images = torch.rand(2, 3, *SIZE)
    if way == "exported":
        batch = torch.export.Dim("batch", min=1, max=64)
        torch.export.save(torch.export.export(trained, (images,), dynamic_shapes=({0: batch},)), path)
        return path
    script = torch.jit.script(trained) if way == "scripted" else torch.jit.trace(trained, images)
    (torch.jit.freeze(script.eval()) if way == "frozen" else script).save(str(path))
    return path


@pytest.mark.parametrize("name", ["torchscript", "onnx", "torch-export"])
@pytest.mark.parametrize("way", ["scripted", "traced", "frozen", "exported"])
def test_every_format_of_it_answers_as_the_trained_module(trained, reference, example, tmp_path, way, name):
    path = saved(trained, way, tmp_path / ("net.pt2" if way == "exported" else "net.pt"))
    loaded = get(path, "torch_export" if way == "exported" else "torchscript")
    assert loaded.digest == file_digest(path)
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    module = wrap(loaded.module, reference.contract.normalise)
    artifact = find_format(name).export(module, example, tmp_path, ExportOptions(8, tmp_path / "logs"))
    run = find_format(name).session(artifact)
    for count in (1, 2, 8):
        assert np.abs(run(reference.pixels[:count].copy()) - reference.logits[:count]).max() < 1e-4
    if name == "onnx":
        assert artifact.details["opset"] == 18
        assert str(tmp_path) not in str(onnx.load(str(artifact.path)))


def test_half_precision_becomes_float32(trained, tmp_path):
    torch.jit.script(small_model.build().half()).save(str(tmp_path / "net.pt"))
    module = get(tmp_path / "net.pt").module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_train_mode_is_left_where_the_file_can_leave_it_and_found_where_it_cannot(trained, tmp_path):
    torch.jit.script(small_model.build().train()).save(str(tmp_path / "net.pt"))
    assert not get(tmp_path / "net.pt").module.training
    images = torch.rand(2, 3, *SIZE)
    torch.export.save(torch.export.export(small_model.build().train(), (images,)), tmp_path / "net.pt2")
    with pytest.raises(SourceInvalid, match=r"batch|influence"):
        get(tmp_path / "net.pt2", "torch_export")


class Payload:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("entry", ["data.pkl", "constants.pkl"])
def test_pickled_code_in_the_archive_does_not_run(trained, tmp_path, entry):
    whole = zipfile.ZipFile(saved(trained, "traced", tmp_path / "net.pt"))
    with zipfile.ZipFile(tmp_path / "evil.pt", "w", zipfile.ZIP_STORED) as evil:
        for name in whole.namelist():
            content = pickle.dumps(Payload(str(tmp_path / "ran")), protocol=2)
            evil.writestr(name, content if name.endswith(f"/{entry}") else whole.read(name))
    with pytest.raises(SourceInvalid, match=r"not a readable TorchScript file.*Unknown type name"):
        get(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


class Writes(nn.Module):
    """Its ``__setstate__`` is TorchScript that runs when the file is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.path = path

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
        torch.save(state[0], state[1])
        self.weight, self.path, self.training = state[0], state[1], state[2]

    def forward(self, images):
        return images


def test_code_that_writes_files_is_refused_before_it_is_loaded(tmp_path):
    target = tmp_path / "written"
    torch.jit.script(Writes(str(target))).save(str(tmp_path / "net.pt"))
    torch.jit.load(str(tmp_path / "net.pt"))
    assert target.exists(), "torch itself runs it: the danger is real"
    target.unlink()
    with pytest.raises(SourceInvalid, match=r"reaches files.*operators save"):
        get(tmp_path / "net.pt")
    assert not target.exists()


@pytest.mark.parametrize("way", ["traced", "exported"])
@pytest.mark.parametrize("keep", [0, 50, 2000, -100])
def test_damaged_files(trained, tmp_path, way, keep):
    path = saved(trained, way, tmp_path / "net.pt2")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceInvalid, match=r"not a readable|cannot be loaded"):
        get(path, "torch_export" if way == "exported" else "torchscript")


def test_one_kind_under_the_key_of_another(trained, tmp_path):
    path = saved(trained, "traced", tmp_path / "net.pt")
    with pytest.raises(SourceInvalid, match=r"observed a TorchScript archive.*name it as source.torchscript"):
        get(path, "torch_export")
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(SourceInvalid, match="not a readable TorchScript file"):
        get(tmp_path / "weights.pt")
    source = SourceSpec(factory="tests.export.small_model:build", checkpoint=str(path))
    with pytest.raises(SourceInvalid, match=r"net\.pt is a TorchScript archive: a whole network.*source.torchscript"):
        load(source, tmp_path, CLASSES, tmp_path, input_size=SIZE)


def test_code_that_is_written_around_the_guard_is_refused(trained, tmp_path):
    """TorchScript takes spaces, comments and line ends wherever Python does."""
    whole = zipfile.ZipFile(saved(trained, "traced", tmp_path / "net.pt"))
    for number, call in enumerate(("torch . save (x)", "(torch. # a comment\n save(x))", "ops.aten.from_file (x)")):
        path = tmp_path / f"crafted-{number}.pt"
        with zipfile.ZipFile(path, "w") as crafted:
            for name in whole.namelist():
                content = whole.read(name)
                if name.endswith(".py"):
                    content += f"\n# {call}\n".encode() if number == 2 else f"\n{call}\n".encode()
                crafted.writestr(name, content)
        with pytest.raises(SourceInvalid, match="reaches files"):
            get(path)
