"""Good exports pass every gate; planted bad ones are refused, each for its true cause."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.formats.base import Artifact
from export.gates.base import GateResult, Reference, batch_sizes, finite, in_batches
from export.gates.executes import Executes
from export.gates.parity import Parity
from export.gates.registry import judge
from export.gates.task import Task
from export.images import HeldOut
from export.wrap import wrap
from slipway.contract import Normalise
from slipway.spec import ModelSpec
from tests.export.conftest import SPEC, Planted, candidate, with_module


class After(nn.Module):
    """The good network with something done to its pixels or logits."""

    def __init__(self, inner: nn.Module, flip: bool = False, roll: int = 0, nan: bool = False, keep: int = 6) -> None:
        super().__init__()
        self.inner, self.flip, self.roll, self.nan, self.keep = inner, flip, roll, nan, keep

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.inner(pixels.flip(-1) if self.flip else pixels).roll(self.roll, 1)
        return (logits * torch.log(-(logits.detach() ** 2) - 1) if self.nan else logits)[:, : self.keep]


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :6] * 0 + self.value


@pytest.mark.parametrize("name", ["onnx", "torchscript", "torch-export"])
def test_good_exports_pass_every_gate(artifacts: dict[str, Artifact], reference: Reference, name: str) -> None:
    results = judge(reference, candidate(name, artifacts[name].path))
    assert [(result.name, result.passed, result.reason) for result in results] == [
        ("executes", True, None),
        ("parity", True, None),
        ("task", True, None),
    ]
    parity, task = results[1].measured, results[2].measured
    assert 0 <= parity["max_relative_difference"] < 1e-5
    assert set(parity["by_batch_size"]) == {"1", "2", "8"}
    assert parity["images"] == 16
    assert task["trained"] == task["exported"] >= 0.85
    assert task["agreement"] == 1.0


def test_a_file_that_is_truncated(artifacts: dict[str, Artifact], reference: Reference, tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(artifacts["onnx"].path.read_bytes()[:5000])
    results = judge(reference, candidate("onnx", broken))
    assert [result.name for result in results] == ["executes"], "what does not open is not judged further"
    assert _reason(results[0]).startswith("it cannot be opened: ")


def test_a_batch_size_that_is_baked_in(reference: Reference, planted: Planted) -> None:
    class Baked(After):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.inner(pixels).reshape(2, -1)[:, :6]

    result = Executes().check(reference, planted(Baked(reference.module)))
    assert _reason(result).startswith("the batch size is baked in: [2] work, [1, 8] do not")


def test_a_wrong_number_of_classes(reference: Reference, planted: Planted) -> None:
    result = Executes().check(reference, planted(After(reference.module, keep=5)))
    assert "float32[1, 5], not float32[1, 6]" in _reason(result)


def test_channels_that_are_swapped(reference: Reference, planted: Planted) -> None:
    result = Parity().check(reference, planted(After(reference.module, flip=True)))
    assert "its channels are swapped" in _reason(result)


@pytest.mark.parametrize(
    "wrong",
    [
        Normalise(255.0, (0.5, 0.5, 0.5), (0.229, 0.224, 0.225)),
        Normalise(255.0, (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)),
        Normalise(255.0),
    ],
)
def test_a_wrong_mean_or_std(reference: Reference, trained: nn.Module, planted: Planted, wrong: Normalise) -> None:
    result = Parity().check(reference, planted(wrap(trained, wrong)))
    assert "another normalisation is baked in" in _reason(result)
    found = re.search(r"mean \(([\d.]+), .*std \(([\d.]+), ", _reason(result))
    assert found
    assert [float(value) for value in found.groups()] == pytest.approx([wrong.mean[0], wrong.std[0]], abs=2e-3)


def test_logits_that_are_not_numbers(reference: Reference, planted: Planted) -> None:
    results = judge(reference, planted(After(reference.module, nan=True)))
    assert "96 of 96 logits are NaN or infinite at batch 1" in _reason(results[1])
    assert not results[2].passed


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_train_mode_that_was_left_on(reference: Reference, trained: nn.Module, planted: Planted) -> None:
    class TrainMode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = reference.module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            images = self.inner.normalise(pixels.permute(0, 3, 1, 2).float())
            convolved = trained.features[0](images)
            batch = nn.functional.batch_norm(
                convolved, None, None, trained.features[1].weight, trained.features[1].bias, training=True
            )
            return trained.head(trained.features[2:](batch).flatten(1))

    result = Parity().check(reference, planted(TrainMode()))
    assert "logits differ by" in _reason(result)


def test_images_of_a_batch_that_influence_each_other(reference: Reference, planted: Planted) -> None:
    class Mixed(After):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits = self.inner(pixels)
            return logits + (logits - logits.mean(0, keepdim=True))

    result = Parity().check(reference, planted(Mixed(reference.module)))
    assert "images of one batch influence each other" in _reason(result)
    assert result.measured["by_batch_size"]["1"] < 1e-4 < result.measured["by_batch_size"]["2"]


def test_outputs_shifted_by_one(reference: Reference, planted: Planted) -> None:
    results = judge(reference, planted(After(reference.module, roll=1)))
    assert "its outputs are shifted by 1 places" in _reason(results[1])
    assert "labels are shifted by -1" in _reason(results[2])


def test_a_label_list_shifted_by_one(project: Path, reference: Reference, artifacts: dict[str, Artifact]) -> None:
    """The export agrees with the trained model; only the labels are wrong, and only labelled images show it."""
    labels = SPEC["labels"]
    contract = replace(reference.contract, labels=(*labels[1:], labels[0]))
    index = {label: number for number, label in enumerate(contract.labels)}
    images = tuple(replace(image, label=index[labels[image.label]]) for image in reference.held_out.images)
    shifted = Reference(contract, reference.gates, HeldOut(images, ""), reference.module, reference.run)
    results = judge(shifted, candidate("onnx", artifacts["onnx"].path))
    assert results[1].passed
    assert "the trained model itself reaches" in _reason(results[2])
    assert "labels are shifted by -1" in _reason(results[2])


def test_an_untrained_head_is_no_proof_of_agreement(reference: Reference, planted: Planted) -> None:
    module = wrap(Constant(0.0), reference.contract.normalise)
    result = Parity().check(with_module(reference, module), planted(module))
    assert _reason(result).startswith("vacuous: the trained model's largest logit is 0")


def test_outputs_that_ignore_the_image_are_no_proof_of_agreement(reference: Reference, planted: Planted) -> None:
    module = wrap(Constant(3.0), reference.contract.normalise)
    result = Parity().check(with_module(reference, module), planted(module))
    assert "do not depend on the image" in _reason(result)


def test_a_trained_model_below_the_minimum_is_refused(reference: Reference, artifacts: dict[str, Artifact]) -> None:
    first, *rest = reference.held_out.images
    mislabelled = HeldOut((replace(first, label=(reference.top1[0] + 1) % 6), *rest), "")
    strict = replace(_with_task(reference, minimum=1.0), held_out=mislabelled)
    result = Task().check(strict, candidate("onnx", artifacts["onnx"].path))
    assert "the trained model itself reaches" in _reason(result)


def test_an_export_that_loses_the_task_is_refused(reference: Reference, planted: Planted) -> None:
    class Biased(After):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits = self.inner(pixels)
            return torch.cat([logits[:, :1] + 9, logits[:, 1:]], 1)

    result = Task().check(_with_task(reference, minimum=None), planted(Biased(reference.module)))
    assert "the export loses" in _reason(result)
    assert result.measured["drop"] > 0.1
    assert result.measured["verdict"] == "worse"
    assert result.measured["p_mcnemar"] < 1e-3
    assert result.measured["lost"] - result.measured["gained"] == round(72 * result.measured["drop"])


def test_too_few_labels_fail_with_the_number_that_would_do(
    reference: Reference, artifacts: dict[str, Artifact]
) -> None:
    """72 images without a difference show no loss of half a point: 598 would, unless the specification accepts it."""
    good = candidate("onnx", artifacts["onnx"].path)
    result = Task().check(_with_task(reference, margin=0.005), good)
    assert result.measured["verdict"] == "undecided"
    assert result.measured["needed"] == 598
    assert result.measured["upper"] == pytest.approx(1 - 0.05 ** (1 / 72), abs=2e-4)
    assert "too few labels to decide: 72 images, 0 lost, 0 gained" in _reason(result)
    assert "about 598 without a difference would decide" in _reason(result)
    accepted = Task().check(_with_task(reference, margin=0.005, accept_undecided=True), good)
    assert accepted.passed
    assert accepted.measured["verdict"] == "undecided"
    assert "UNDECIDED" in accepted.found


def test_what_was_seen_to_be_lost_is_not_accepted_as_undecided(reference: Reference, planted: Planted) -> None:
    result = Task().check(_with_task(reference, accept_undecided=True), planted(After(reference.module, roll=2)))
    assert "the export loses" in _reason(result)


def test_unlabelled_images_fail_unless_the_spec_accepts_them(
    reference: Reference, artifacts: dict[str, Artifact], planted: Planted
) -> None:
    images = tuple(replace(image, label=None) for image in reference.held_out.images)
    unlabelled = replace(reference, held_out=HeldOut(images, ""))
    good = candidate("onnx", artifacts["onnx"].path)
    assert "no labels" in _reason(Task().check(unlabelled, good))
    accepted = _with_task(unlabelled, minimum=None, accept_unlabelled=True)
    result = Task().check(accepted, good)
    assert (result.passed, result.measured["agreement"]) == (True, 1.0)
    assert result.allowed == "agreement >= 0.9500"
    shifted = Task().check(accepted, planted(After(reference.module, roll=1)))
    assert "agrees with the trained model on" in _reason(shifted)


def test_batches_are_exact_and_their_filling_is_cut_off() -> None:
    seen: list[int] = []

    def run(pixels: np.ndarray) -> np.ndarray:
        seen.append(len(pixels))
        return pixels[:, 0, 0, :1].astype(np.float32)

    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    assert in_batches(run, pixels, 4).ravel().tolist() == [0, 1, 2, 3, 4]
    assert seen == [4, 4]


def test_sizes_beyond_the_largest_batch_are_not_tried() -> None:
    assert batch_sizes((1, 2, 8, 64), 4) == [1, 2, 4]


def test_results_are_json_ready() -> None:
    assert finite({"a": (np.float32(0.5), float("nan")), "b": [float("inf")]}) == {"a": [0.5, "nan"], "b": ["inf"]}


def _with_task(reference: Reference, **changes: object) -> Reference:
    spec = ModelSpec.model_validate({**SPEC, "gates": {"task": {"margin": 0.05, **changes}}})
    return replace(reference, gates=spec.gates)


def _reason(result: GateResult) -> str:
    assert not result.passed
    assert result.reason
    return result.reason
