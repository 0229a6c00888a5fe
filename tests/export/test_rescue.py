"""fp16 and INT8 that fail are saved by the layers that break them, at a known cost; what is wrong otherwise is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.formats.base import Artifact, ExportOptions
from export.formats.registry import find_format
from export.gates.base import Candidate, GateResult, Reference
from export.gates.registry import judge
from export.images import load_held_out
from export.rescue import TRIES, Rescue, rescue
from export.wrap import eager_network, wrap
from slipway.spec import ModelSpec
from tests.export import layered_model
from tests.export.conftest import SPEC

GATES = {"task": {"minimum": 0.8, "margin": 0.03, "accept_undecided": True}}


@pytest.fixture(scope="module")
def trained_layers() -> layered_model.Layered:
    return layered_model.train()


@dataclass(frozen=True)
class Case:
    """A network, exports of it, what the gates say of them, and what saving them comes to."""

    reference: Reference
    folder: Path
    options: ExportOptions
    name: str = "onnx-int8"

    @classmethod
    def make(cls, project: Path, module: torch.nn.Module, folder: Path) -> Case:
        spec = ModelSpec.model_validate({**SPEC, "gates": GATES})
        contract = spec.contract(project)
        wrapped = wrap(module, contract.normalise)
        held_out = load_held_out(project / "samples", contract.labels)
        reference = Reference(contract, spec.gates, held_out, wrapped, eager_network(wrapped))
        options = ExportOptions(8, folder / "logs", shared_dir=folder, calibration=reference.pixels)
        return cls(reference, folder, options)

    @property
    def rescue_folder(self) -> Path:
        return self.folder / f"{self.name}-rescue"

    @property
    def example(self) -> torch.Tensor:
        return torch.from_numpy(self.reference.pixels[:2].copy())

    def export(self) -> Artifact:
        target = self.folder / self.name
        target.mkdir(exist_ok=True)
        return find_format(self.name).export(self.reference.module, self.example, target, self.options)

    def judge(self, artifact: Artifact) -> list[GateResult]:
        kind = find_format(self.name)
        candidate = Candidate(self.name, lambda: kind.session(artifact), kind.precision, artifact)
        return judge(self.reference, candidate)

    def rescue(self, artifact: Artifact, results: list[GateResult]) -> Rescue | None:
        return rescue(
            self.reference,
            find_format(self.name),
            artifact,
            results,
            self.options,
            self.reference.module,
            self.example,
            self.rescue_folder,
            judge,
        )


def failed_gates(results: list[GateResult]) -> set[str]:
    return {result.name for result in results if not result.passed}


@pytest.fixture(scope="module")
def outlier(project: Path, trained_layers: layered_model.Layered, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One channel takes the whole range of its tensor."""
    module = layered_model.scaled(trained_layers, 3000.0, slice(0, 1))
    return Case.make(project, module, tmp_path_factory.mktemp("outlier"))


@pytest.fixture(scope="module")
def overflow(project: Path, trained_layers: layered_model.Layered, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One layer leaves the range of fp16."""
    module = layered_model.scaled(trained_layers, 2e4, slice(None))
    return Case.make(project, module, tmp_path_factory.mktemp("overflow"))


@pytest.fixture(scope="module")
def sound(project: Path, trained_layers: layered_model.Layered, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case.make(project, trained_layers, tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(
    ("made", "name"), [("overflow", "onnx-fp16"), ("outlier", "onnx-int8"), ("outlier", "openvino-int8")]
)
def test_the_layers_that_break_it_stay_in_fp32(made: str, name: str, request: pytest.FixtureRequest) -> None:
    case = replace(request.getfixturevalue(made), name=name)
    artifact = case.export()
    results = case.judge(artifact)
    assert "parity" in failed_gates(results)
    saved = case.rescue(artifact, results)
    assert saved is not None
    assert saved.saved, saved.report
    assert not failed_gates(saved.results)
    kept = saved.report["kept_fp32"]
    modules = {layer: module for layer, module in nodes(case.folder / "base.onnx").items() if layer in kept}
    assert {"pairs.0.1.1", "pairs.1.0.1"} <= set(modules.values()), "the layer with the large values and its reader"
    assert len(kept) <= 6
    assert len(saved.report["tries"]) <= TRIES
    assert saved.report["tries"][-1]["of"] == saved.report["layers"]
    assert "pairs.0.1.1" in saved.report["cause"]
    assert saved.report["mb_after"] == saved.artifact.bytes / 1e6
    assert all(saved.report[key] > 0 for key in ("mb_before", "ms_before", "ms_after"))
    assert saved.artifact.details["kept_fp32"] == kept
    assert artifact.path.is_file(), "the export that failed is left as it was"
    left = [item.name for item in case.rescue_folder.iterdir()]
    assert left == [saved.artifact.path.parent.name], "exports that are not taken are removed"
    if name == "onnx-int8":
        check_weights(saved.artifact.path, kept)


def nodes(path: Path) -> dict[str, str]:
    from export.layers.graph import read_frame

    return {layer.name: layer.module for layer in read_frame(path).layers}


def check_weights(path: Path, kept: list[str]) -> None:
    """Convolutions that were kept have float weights in the file, all others integers."""
    graph = onnx.load(str(path)).graph
    integers = {item.name for item in graph.initializer if item.data_type == onnx.TensorProto.INT8}
    made_of = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Conv":
            weight = made_of.get(node.input[1])
            quantised = weight is not None and weight.input[0] in integers
            assert quantised == (node.name not in kept), node.name


def test_a_sound_export_needs_no_rescue(sound: Case) -> None:
    artifact = sound.export()
    results = sound.judge(artifact)
    assert not failed_gates(results)
    assert sound.rescue(artifact, results) is None


def test_what_fails_in_fp32_too_is_not_saved(sound: Case, project: Path) -> None:
    """Labels in another order: no precision cures that."""
    contract = sound.reference.contract
    turned = replace(contract, labels=(*contract.labels[1:], contract.labels[0]))
    held_out = load_held_out(project / "samples", turned.labels)
    case = replace(sound, reference=replace(sound.reference, contract=turned, held_out=held_out))
    artifact = case.export()
    results = case.judge(artifact)
    assert failed_gates(results) == {"task"}
    given_up = case.rescue(artifact, results)
    assert given_up is not None
    assert not given_up.saved
    assert given_up.report["reason"].startswith("fp32 fails too, so it is no matter of precision: task")
    assert given_up.report["tries"] == []


def test_a_calibration_on_noise_is_not_papered_over(sound: Case) -> None:
    noise = np.random.default_rng(0).integers(100, 156, size=sound.reference.pixels.shape, dtype=np.uint8)
    case = replace(sound, options=replace(sound.options, calibration=noise))
    artifact = case.export()
    results = case.judge(artifact)
    assert failed_gates(results)
    given_up = case.rescue(artifact, results)
    assert given_up is not None
    assert not given_up.saved
    assert "calibrated on something else" in given_up.report["reason"]
    assert given_up.report["tries"] == []


def test_a_network_that_breaks_everywhere_is_given_up_after_few_tries(
    project: Path, trained_layers: layered_model.Layered, tmp_path: Path
) -> None:
    """An outlier channel in every block: more than half of the layers would have to stay in fp32."""
    case = Case.make(project, outliers_everywhere(trained_layers), tmp_path)
    artifact = case.export()
    given_up = case.rescue(artifact, case.judge(artifact))
    assert given_up is not None
    assert not given_up.saved
    assert "it fails still with the" in given_up.report["reason"]
    assert 1 <= len(given_up.report["tries"]) <= TRIES
    assert not list(case.rescue_folder.iterdir())


def outliers_everywhere(model: layered_model.Layered) -> torch.nn.Module:
    """The same function with the first channel of every block's output 3000 times as large."""
    changed = layered_model.scaled(model, 1.0, slice(None))
    blocks = [changed.stem, *(block for pair in changed.pairs for block in pair)]
    with torch.no_grad():
        for block, reader in zip(blocks, [*(block[0] for block in blocks[1:]), changed.head], strict=True):
            block[1].weight[0] *= 3000.0
            block[1].bias[0] *= 3000.0
            if isinstance(reader, torch.nn.Conv2d) and reader.groups > 1:
                reader.weight[0] /= 3000.0
            else:
                reader.weight[:, 0] /= 3000.0
    return changed
