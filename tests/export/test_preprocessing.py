"""The contract beside the training's transform: equal ones pass, and every planted fault is refused by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from export.evidence import summary
from export.gates.base import GateResult, Reference
from export.gates.preprocessing import check_model
from export.images import load_held_out
from export.preprocessing.identity import preprocessing_digest
from export.preprocessing.labels import difference
from export.preprocessing.named import digest_of, load_labels
from export.preprocessing.pictures import ODD_PHOTOGRAPHS
from export.wrap import eager_network, wrap
from samples.photos.catalogue import PHOTOS
from slipway.errors import SpecInvalid
from slipway.spec import ModelSpec
from tests.export import small_model
from tests.export.conftest import SPEC
from tests.export.training_transforms import CROP, RESIZE

HERE = "tests.export.training_transforms"
ODD = (
    *("coffee.png", "china.jpg", "rocket.jpg", "portrait.jpg", "strip.png", "thumbnail.png", "one-pixel.png"),
    *("exif-90.jpg", "cmyk.jpg", "sixteen-bit.png", "palette.png", "cut-out.png", "grey.jpg", "tiny.gif"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out patches, and odd photographs where the samples would have put them."""
    root = tmp_path_factory.mktemp("home")
    small_model.write_held_out(root / "samples")
    photographs = root / ODD_PHOTOGRAPHS
    photographs.mkdir(parents=True)
    for photo in PHOTOS:
        if photo.name in ODD:
            (photographs / photo.name).write_bytes(photo.encoded())
    return root


def specified(transform: str | None, input: dict | None = None, **rules: object) -> ModelSpec:
    declared = {"height": CROP, "width": CROP, "resize": "shorter_side", "resize_to": RESIZE, **(input or {})}
    if transform is not None:
        rules["transform"] = transform if ":" in transform else f"{HERE}:{transform}"
    gates = {**SPEC["gates"], "preprocessing": rules}
    return ModelSpec.model_validate({**SPEC, "input": declared, "gates": gates})


@pytest.fixture
def judge(home: Path, trained: nn.Module):
    def run(spec: ModelSpec) -> GateResult:
        contract = spec.contract(home)
        module = wrap(trained, contract.normalise)
        held_out = load_held_out(home / spec.samples, contract.labels)
        return check_model(Reference(contract, spec.gates, held_out, module, eager_network(module)), spec, home)

    return run


def test_the_trainings_transform_passes_on_odd_photographs(judge) -> None:
    result = judge(specified("good"))
    assert (result.name, result.format, result.passed, result.reason) == ("preprocessing", "contract", True, None)
    assert result.measured["pictures"] == ODD_PHOTOGRAPHS
    assert result.measured["compared"] == len(ODD)
    assert 0 < result.measured["max_difference"] <= 2
    assert result.measured["mean_difference"] < 0.1
    assert set(result.measured["decoded_by_rule"]) == {"sixteen-bit.png", "cut-out.png"}
    task = result.measured["task"]
    assert task["images"] == 72
    assert abs(task["change"]) <= 0.005
    assert task["contract"] > 0.5


@pytest.mark.parametrize(
    ("transform", "cause"),
    [
        ("swapped", "the training's channels are swapped: input.colour rgb is not its order"),
        ("swapped_at_the_end", "the training's channels are swapped: input.colour rgb is not its order"),
        ("wrong_mean", "mean differs: normalise.mean [0.500, 0.500, 0.500], not [0.485, 0.456, 0.406]"),
        ("wrong_std", "std differs: normalise.std [0.500, 0.500, 0.500], not [0.229, 0.224, 0.225]"),
        ("not_scaled", "the training's scale differs: normalise.scale 1, not 255"),
        ("not_normalised", "normalisation differs: scale 1, mean [0.000, 0.000, 0.000], std [1.000, 1.000, 1.000]"),
        ("wrong_mean_and_channels", "the training's channels are swapped"),
        ("without_antialias", "input.antialias: false (no antialiasing), not true"),
        ("stretched", "input.resize: stretch, not shorter_side"),
        ("not_cropped", f"input.resize_to: {CROP}, not {RESIZE}"),
        ("bicubic", "input.interpolation: bicubic, not bilinear"),
        ("grey", "input.colour: grey, not rgb"),
        ("letterboxed", "input.resize: letterbox, not shorter_side; input.fill: 114"),
        ("cornered", "puts the picture into the upper left corner and fills the rest with 114"),
        ("stretched_then_cropped", f"stretches to {RESIZE}x{RESIZE} before it crops {CROP}x{CROP}"),
        ("cropped_then_resized", f"crops before it resizes (96x96, then to {CROP}x{CROP})"),
        ("cropped_only", f"crops the centre {CROP}x{CROP} without resizing"),
    ],
)
def test_a_planted_fault_is_named(judge, transform: str, cause: str) -> None:
    result = judge(specified(transform))
    assert not result.passed
    assert cause in str(result.reason)
    assert cause in str(result.measured["cause"])


def test_mean_and_channels_are_named_together(judge) -> None:
    reason = str(judge(specified("wrong_mean_and_channels")).reason)
    assert "channels are swapped" in reason
    assert "mean differs" in reason


@pytest.mark.parametrize("side", [70, 87, 119])
def test_an_unusual_side_before_the_crop_is_found(judge, side: int) -> None:
    result = judge(specified("good", arguments={"resize": side}))
    assert f"input.resize_to: {side}, not {RESIZE}" in str(result.reason)


def test_several_keys_are_named_together(judge) -> None:
    result = judge(specified("bicubic", {"resize": "stretch", "resize_to": None}))
    assert f"input.resize: shorter_side, not stretch; input.resize_to: {RESIZE}" in str(result.reason)
    assert "input.interpolation: bicubic, not bilinear" in str(result.reason)


def test_a_contract_that_decodes_at_a_reduced_scale(judge) -> None:
    result = judge(specified("good", {"reduced_decode": True}, max_difference=2.5, mean_difference=0.1))
    assert "input.reduced_decode: false, not true" in str(result.reason)


def test_what_is_not_known_is_not_made_up(judge) -> None:
    result = judge(specified("mirrored"))
    assert "nothing that trainings usually do explains it" in str(result.reason)
    assert result.measured["cause"] is None


def test_a_harmless_difference_passes_by_declared_limits(judge) -> None:
    assert judge(specified("bicubic", max_difference=80, mean_difference=8, max_task_change=0.1)).passed


def test_the_change_of_the_task_is_judged_by_itself(judge) -> None:
    """Pixels may differ as they like here, but the answers may not."""
    result = judge(specified("swapped", max_difference=255, mean_difference=255))
    assert "the trained model reaches" in str(result.reason)
    assert result.measured["task"]["change"] > 0.1
    assert result.measured["task"]["gained"] > result.measured["task"]["lost"]


def test_an_undeclared_transform_is_said_loudly(judge) -> None:
    result = judge(specified(None))
    assert result.passed
    assert result.found.startswith("NOT DECLARED")
    assert result.measured["declared"] is False
    assert "nothing shows that images are prepared as in the training" in result.measured["warning"]


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        ("of_another_size", "makes [3, 72, 72] of"),
        ("failing", "OSError: no augmentation for RGB"),
        ("infinite", "makes NaN or infinite values of"),
    ],
)
def test_a_transform_that_cannot_be_the_trainings(judge, transform: str, reason: str) -> None:
    assert reason in str(judge(specified(transform)).reason)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (f"{HERE}:goood", "for example good"),
        ("tests.export.no_such:good", "cannot be imported"),
        (f"{HERE}:no_transform", "nothing that can be called"),
        (f"{HERE}:broken_factory", "raised KeyError"),
    ],
)
def test_a_transform_that_there_is_not(judge, transform: str, message: str) -> None:
    with pytest.raises(SpecInvalid, match=message):
        judge(specified(transform))


def test_held_out_images_are_compared_where_there_are_no_photographs(project: Path, reference: Reference) -> None:
    spec = specified("stretched", {"height": 32, "width": 32, "resize": "stretch", "resize_to": None})
    spec = spec.changed([f"gates.preprocessing.transform={HERE}:good"])
    contract = replace(reference.contract, preprocess=spec.input.preprocess())
    result = check_model(replace(reference, contract=contract), spec, project)
    assert result.measured.get("pictures", "the held-out images") == "the held-out images"
    assert "makes [3, 64, 64] of" in str(result.reason)


def test_what_the_contract_refuses_to_decode_is_counted(judge, home: Path) -> None:
    result = judge(specified("good", {"max_bytes": 60_000}))
    assert result.passed
    assert result.measured["refused"]
    assert result.measured["compared"] + len(result.measured["refused"]) == len(ODD)


@pytest.mark.parametrize("labels", ["CLASSES", "class_names", "CLASS_TO_IDX"])
def test_the_trainings_labels_pass(judge, labels: str) -> None:
    result = judge(specified(None, labels=f"{HERE}:{labels}"))
    assert result.passed
    assert result.measured["labels"] == {"count": 6, "sha256": digest_of(small_model.LABELS)}


def test_labels_that_are_shifted_or_missing(judge, home: Path) -> None:
    turned = judge(specified(None, labels=f"{HERE}:TURNED"))
    assert "labels are shifted by +1: 6 of 6 labels differ from the training's" in str(turned.reason)
    (home / "labels.txt").write_text("\n".join((*small_model.LABELS, "retina")))
    longer = judge(specified(None, labels="labels.txt"))
    assert "the specification has 6 labels, the training 7 (it lacks 'retina')" in str(longer.reason)
    pinned = judge(specified(None, labels=f"{HERE}:CLASSES", labels_sha256="0" * 64))
    assert "not that of labels_sha256" in str(pinned.reason)


def test_labels_in_another_order_or_of_other_names() -> None:
    assert difference(["a", "b", "c"], ["a", "b", "c"]) is None
    assert "another order: 2 of 3 labels differ" in str(difference(["a", "c", "b"], ["a", "b", "c"]))
    assert "the first at index 2: 'x', not 'c'" in str(difference(["a", "b", "x"], ["a", "b", "c"]))
    assert difference(["class_0", "class_1"], ["cat", "dog"], numbered=True) is None
    assert "2 labels, the training 3" in str(difference(["class_0", "class_1"], list("abc"), numbered=True))


def test_labels_that_there_are_not(home: Path) -> None:
    with pytest.raises(SpecInvalid, match="cannot be read"):
        load_labels("nowhere.txt", home)
    with pytest.raises(SpecInvalid, match="no list of labels"):
        load_labels(f"{HERE}:CROP", home)


def test_rules_that_make_no_sense_are_refused() -> None:
    for rules in ({"arguments": {"resize": 3}}, {"labels_sha256": "0" * 64}):
        with pytest.raises(ValueError, match="preprocessing"):
            specified(None, **rules)
    with pytest.raises(ValueError, match="transform"):
        specified("not a name:")


def test_numbers_of_evidence_are_json_ready(judge) -> None:
    values = judge(specified("good")).to_dict()
    assert np.isfinite(values["measured"]["mean_difference"])
    assert values["threshold"]["max_difference"] == 3.0


def test_the_manifest_repeats_its_numbers_beside_the_formats(judge) -> None:
    row = judge(specified("good")).to_dict()
    evidence = {"passed": True, "images": {"count": 72}, "gates": [row, {**row, "format": "onnx", "name": "task"}]}
    repeated = summary(evidence)
    assert list(repeated["formats"]) == ["onnx"]
    assert repeated["contract"]["preprocessing"]["compared"] == len(ODD)


def test_code_labels_and_pictures_make_another_export(home: Path) -> None:
    found = [preprocessing_digest(specified(None), home), preprocessing_digest(specified("good"), home)]
    (home / "names.txt").write_text("a")
    found.append(preprocessing_digest(specified("good", labels="names.txt"), home))
    (home / "names.txt").write_text("b")
    found.append(preprocessing_digest(specified("good", labels="names.txt"), home))
    (home / ODD_PHOTOGRAPHS / "more.png").write_bytes((home / ODD_PHOTOGRAPHS / "strip.png").read_bytes())
    found.append(preprocessing_digest(specified("good", labels="names.txt"), home))
    (home / ODD_PHOTOGRAPHS / "more.png").unlink()
    assert len(set(found)) == len(found)
    assert found[3] == preprocessing_digest(specified("good", labels="names.txt"), home)
