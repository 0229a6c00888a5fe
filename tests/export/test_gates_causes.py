"""Planted faults are refused with their true cause, on real files of the trained model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from export.formats.base import Artifact
from export.gates.base import Candidate, GateResult, Reference
from export.gates.causes.earlier import Earlier, published_networks
from export.gates.parity import Parity
from export.gates.registry import judge
from export.run import export_model
from export.wrap import NormalisedNetwork, wrap
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model
from tests.export.conftest import SPEC, with_module
from tests.export.offered import eager, exported, offered, shared_folder, traced


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory)


class Changed(nn.Module):
    """The good network with something done to its logits."""

    def __init__(self, inner: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.change(self.inner(pixels))


def low_contrast_noise(reference: Reference) -> np.ndarray:
    noise = np.random.default_rng(0).normal(128, 12, reference.pixels.shape)
    return np.clip(noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_int8_that_was_calibrated_on_noise(reference: Reference, shared: Path, tmp_path: Path, name: str) -> None:
    candidate = exported(name, reference, tmp_path, shared, calibration=low_contrast_noise(reference))
    result = Parity().check(reference, candidate)
    assert "INT8 was calibrated on something else than such images (noise?)" in _reason(result)
    assert "of its values are clipped" in _reason(result)
    assert "real images reach" in _reason(result)
    assert result.measured["calibration"]["clipped"] > 0.05


def test_ranges_that_are_far_too_wide(reference: Reference, shared: Path, tmp_path: Path) -> None:
    """The other way round: scales of the activations fifty times too large leave two bits."""
    candidate = exported("onnx-int8", reference, tmp_path, shared)
    assert candidate.artifact is not None
    model = onnx.load(str(candidate.artifact.path))
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for item in model.graph.initializer:
        if item.name in scales:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(50), item.name))
    onnx.save(model, str(candidate.artifact.path))
    result = Parity().check(reference, candidate)
    assert "INT8 was calibrated on something else" in _reason(result)
    assert "clipped" not in _reason(result)


def test_fp16_that_overflows_is_named_with_its_layer_and_line(reference: Reference, tmp_path: Path) -> None:
    """onnxruntime computes fp16 files in fp32 on a CPU: the answers are right here and NaN on a GPU."""
    module = NormalisedNetwork(_scaled(reference, 3e5), reference.contract.normalise).eval()
    loud = with_module(reference, module)
    result = Parity().check(loud, exported("onnx-fp16", loud, tmp_path, tmp_path / "shared"))
    assert "fp16 overflow: the values of " in _reason(result)
    assert "(Conv, features.1) at tests/export/small_model.py:" in _reason(result)
    assert "fp16 ends at 65504" in _reason(result)
    assert result.measured["largest_activation"] > 65504


def test_fp16_that_really_becomes_infinite(reference: Reference, tmp_path: Path) -> None:
    module = NormalisedNetwork(_scaled(reference, 3e5), reference.contract.normalise).eval()
    loud = with_module(reference, module)

    class Half(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = module(pixels)
            return torch.where(logits.abs().amax(1, keepdim=True) > 0, torch.nan, logits)

    result = Parity().check(loud, eager(Half(), "fp16", "fp16"))
    assert _reason(result).startswith("96 of 96 logits are NaN or infinite at batch 1: fp16 overflow: the values of ")


def test_train_mode_that_was_left_on(reference: Reference) -> None:
    module = wrap(small_model.build(), reference.contract.normalise)
    module.load_state_dict(reference.module.state_dict())
    module.module.features[1].train()
    module.module.features[5].train()
    network = Candidate("train", lambda: _running(module))
    result = Parity().check(reference, network)
    assert "train mode was left on: it answers as the trained model does when its 2 normalisation" in _reason(result)


def test_outputs_in_another_order(reference: Reference, tmp_path: Path) -> None:
    order = torch.tensor([0, 3, 2, 5, 4, 1])
    result = Parity().check(
        reference, traced(Changed(reference.module, lambda logits: logits[:, order]), reference, tmp_path / "model.pt")
    )
    assert "its outputs are in another order than the labels: 3 of 6 are elsewhere" in _reason(result)
    assert "'coffee' is output 5 instead of 1" in _reason(result)


def test_outputs_that_ignore_the_image(reference: Reference, tmp_path: Path) -> None:
    ignoring = Changed(reference.module, lambda logits: logits * 0 + torch.arange(6.0))
    result = Parity().check(reference, traced(ignoring, reference, tmp_path / "model.pt"))
    assert "its logits are the same for every image" in _reason(result)


def test_the_file_of_another_model(reference: Reference, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = wrap(small_model.build(), reference.contract.normalise)
    result = Parity().check(reference, traced(other, reference, tmp_path / "model.pt"))
    assert "its answers are another model's" in _reason(result)


def test_int8_with_swapped_channels_is_not_blamed_on_int8(reference: Reference, shared: Path) -> None:
    """The noise of few bits does not hide a mistake of another kind."""

    class Swapped(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = reference.module(pixels.flip(-1))
            return logits + 0.1 * torch.sin(1000 * logits)

    result = Parity().check(reference, eager(Swapped(), "int8", "int8", reference, shared))
    assert "its channels are swapped" in _reason(result)


class Stale:
    """A repository with one version, and a project whose weights have changed since."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.settings = Settings(root=project, repository=folder / "repository", state_dir=folder / "state")
        spec = ModelSpec.model_validate({**SPEC, "formats": ["onnx", "torchscript"]})
        result = export_model(spec, self.settings)
        assert result.version == 1
        self.repository = Repository(self.settings.repository)


@pytest.fixture(scope="module")
def stale(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Stale:
    return Stale(project, tmp_path_factory.mktemp("stale"))


@pytest.fixture(scope="module")
def retrained(reference: Reference, stale: Stale) -> Reference:
    """The next training of the same model, which knows what is published."""
    module = wrap(small_model.train(seed=1, epochs=3), reference.contract.normalise)
    earlier = published_networks(stale.repository, "small", ("onnx", "torchscript"))
    return replace(with_module(reference, module), earlier=earlier)


def test_published_networks_are_found_newest_first(stale: Stale) -> None:
    found = published_networks(stale.repository, "small", ("onnx", "torchscript", "torch-export"))
    assert [(item.version, item.format, item.path.name) for item in found] == [
        (1, "torchscript", "model.pt"),
        (1, "onnx", "model.onnx"),
    ]
    assert published_networks(stale.repository, "nobody", ("onnx",)) == ()


def test_a_stale_file_is_named_by_its_version(stale: Stale, retrained: Reference, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(stale.repository.path / "small.onnx" / "1" / "model.onnx", path)
    result = Parity().check(retrained, offered(Artifact("onnx", path, 0.0)))
    assert "a stale file: it is version 1 (onnx), byte for byte (sha256 " in _reason(result)


def test_a_stale_file_under_a_new_hash_is_named_by_its_answers(
    stale: Stale, retrained: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load(str(stale.repository.path / "small.onnx" / "1" / "model.onnx"))
    model.producer_name = "a new build"
    onnx.save(model, str(path))
    results = judge(retrained, offered(Artifact("onnx", path, 0.0)))
    assert results[0].passed
    assert "a stale file: it answers as version 1 (onnx) does, not as the weights" in _reason(results[1])


def test_a_good_export_beside_earlier_versions_passes(retrained: Reference, tmp_path: Path) -> None:
    assert len(retrained.earlier) == 2
    assert Parity().check(retrained, traced(retrained.module, retrained, tmp_path / "model.pt")).passed


def test_an_earlier_version_that_cannot_be_opened_explains_nothing(
    retrained: Reference, reference: Reference, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    alone = replace(retrained, earlier=(Earlier(1, "onnx", broken),))
    result = Parity().check(alone, traced(reference.module, reference, tmp_path / "model.pt"))
    assert "stale" not in _reason(result)


def test_integer_kernels_that_saturate(reference: Reference, tmp_path: Path, shared: Path) -> None:
    """8-bit weights on x86 without VNNI; elsewhere the same file must simply pass."""
    from export.formats.base import ExportOptions
    from export.formats.registry import find_format
    from slipway.spec.int8 import Int8Spec
    from tests.export.offered import example_of

    options = ExportOptions(
        8, tmp_path / "logs", shared_dir=shared, calibration=reference.pixels, int8=Int8Spec(reduce_range=False)
    )
    artifact = find_format("onnx-int8").export(reference.module, example_of(reference), tmp_path, options)
    strict = ModelSpec.model_validate({**SPEC, "gates": {"parity": {"int8": {"min_sqnr_db": 25}}}})
    result = Parity().check(replace(reference, gates=strict.gates), offered(artifact, reference, shared))
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    if "vnni" in flags:
        assert result.passed
    else:
        assert "this CPU's integer kernels" in _reason(result)
        assert "saturate" in _reason(result)


def _scaled(reference: Reference, factor: float) -> small_model.SmallCnn:
    """The same answers, but between the first normalisation and the second convolution all values are larger."""
    module = small_model.SmallCnn()
    module.load_state_dict(reference.module.module.state_dict())
    with torch.no_grad():
        module.features[1].weight *= factor
        module.features[1].bias *= factor
        module.features[4].weight /= factor
    return module.eval()


def _running(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()

    return run


def _reason(result: GateResult) -> str:
    assert not result.passed
    assert result.reason
    return result.reason
