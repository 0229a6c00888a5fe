"""Gate 4 on real exports of the small model: what it measures, and what it refuses."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.registry import find_format
from export.gates.base import Candidate
from export.gates.speed import judge_speed
from slipway.errors import SpecInvalid
from slipway.repository import Repository
from slipway.spec import ModelSpec
from slipway.spec.gates_speed import SpeedGate
from tests.export.conftest import SPEC
from tests.serving.dominant_colour import Recipe, publish

QUICK = {"seconds": 0.1}


def asked(reference, **rules):
    gate = SpeedGate(**(QUICK | rules))
    return replace(reference, gates=reference.gates.model_copy(update={"speed": gate}))


def entrants(artifacts, *names):
    found = {name: artifacts[name] for name in names}
    return [Candidate(name, partial(find_format(name).session, found[name]), "fp32", found[name]) for name in names]


def only(results):
    (found,) = results
    return found


class Repeated(nn.Module):
    """The same answers, for many times the work."""

    def __init__(self, module, times):
        super().__init__()
        self.module, self.times = module, times

    def forward(self, pixels):
        total = self.module(pixels)
        for step in range(1, self.times):
            # other pixels each time, or they would be computed once
            total = total + 1e-9 * self.module(pixels + step)
        return total


@pytest.fixture(scope="module")
def slow(tmp_path_factory, reference, example) -> Artifact:
    folder = tmp_path_factory.mktemp("slow")
    options = ExportOptions(max_batch_size=8, log_dir=folder / "logs")
    return find_format("torchscript").export(Repeated(reference.module, 8).eval(), example, folder, options)


def test_is_not_asked_unless_the_specification_asks(reference, artifacts):
    assert reference.gates.speed is None
    assert judge_speed(reference, entrants(artifacts, "onnx")) == []


def test_measures_all_and_holds_the_served_format(reference, artifacts):
    before = torch.get_num_threads()
    results = judge_speed(asked(reference, min_speedup=1e-3, batch=2), entrants(artifacts, "onnx", "torchscript"))
    assert torch.get_num_threads() == before
    by_format = {result.format: result for result in results}
    assert all(result.passed for result in results)
    assert [by_format[name].measured["held"] for name in ("onnx", "torchscript")] == [True, False]
    for name, result in by_format.items():
        measured = result.measured
        assert 0 < measured["p10"] <= measured["ms_per_image"] <= measured["p90"]
        assert measured["speedup_lower"] <= measured["speedup"] <= measured["speedup_upper"]
        assert measured["megabytes"] == pytest.approx(artifacts[name].bytes / 1e6)
        assert measured["against"]["name"] == "eager"
        assert measured["against"]["rounds"] == measured["rounds"] >= 8
        json.dumps(result.to_dict(), allow_nan=False)


def test_refuses_what_is_not_faster_with_figures(reference, artifacts):
    result = only(judge_speed(asked(reference, min_speedup=500.0), entrants(artifacts, "onnx")))
    assert not result.passed
    assert "times as fast as eager" in result.reason and "asked for 500" in result.reason
    assert result.allowed == ">= 500.0 times eager"


def test_refuses_a_slow_export_of_the_right_answers(reference, artifacts, slow):
    served = Candidate("torchscript", partial(find_format("torchscript").session, slow), "fp32", slow)
    both = [served, *entrants(artifacts, "onnx")]
    rules = {"against": "onnx", "min_speedup": 0.8, "batch": 8}
    held = {item.format: item for item in judge_speed(asked(reference, **rules, formats=("torchscript",)), both)}
    assert not held["torchscript"].passed
    assert held["torchscript"].measured["speedup_upper"] < 0.8
    # who is not held to it is measured all the same
    served_is_onnx = {item.format: item for item in judge_speed(asked(reference, **rules), both)}
    assert served_is_onnx["torchscript"].passed
    assert served_is_onnx["torchscript"].allowed == "measured only"


def test_limits_of_time_and_size(reference, artifacts):
    limits = {"max_milliseconds": 1e-6, "max_megabytes": 1e-6, "max_size_ratio": 1e-6}
    result = only(judge_speed(asked(reference, **limits), entrants(artifacts, "onnx")))
    for words in ("ms per image", "its files have", "of those of eager"):
        assert words in result.reason
    generous = dict.fromkeys(limits, 1000000.0)
    assert only(judge_speed(asked(reference, **generous), entrants(artifacts, "onnx"))).passed


def test_names_a_reference_that_is_not_there(reference, artifacts):
    result = only(judge_speed(asked(reference, against="openvino", min_speedup=0.1), entrants(artifacts, "onnx")))
    assert not result.passed
    assert "openvino is not among the formats" in result.reason


def test_a_damaged_artefact_is_refused_and_costs_the_others_nothing(reference, artifacts, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(artifacts["onnx"].path.read_bytes()[:1000])
    damaged = Candidate("onnx", lambda: None, "fp32", Artifact("onnx", broken, 0.0))
    others = entrants(artifacts, "torchscript")
    found = {item.format: item for item in judge_speed(asked(reference, max_megabytes=9.0), [damaged, *others])}
    assert not found["onnx"].passed and "cannot be opened" in found["onnx"].reason
    assert found["torchscript"].measured["rounds"] >= 8


def test_against_the_published_version(reference, artifacts, tmp_path):
    rules = asked(reference, against="published", min_speedup=1e-4)
    repository = Repository(tmp_path / "repository")
    repository.path.mkdir()
    first = only(judge_speed(rules, entrants(artifacts, "onnx"), repository))
    assert first.passed, "the first version replaces nothing"
    assert first.measured["against"]["missing"] == "nothing is published yet"
    # a published version of the same name, with another network and another contract
    version = publish(repository, tmp_path / "scratch", Recipe(model=reference.contract.model))
    later = only(judge_speed(rules, entrants(artifacts, "onnx"), repository))
    file = repository.path / f"{reference.contract.model}.onnx" / str(version) / "model.onnx"
    assert later.measured["against"]["megabytes"] == pytest.approx(file.stat().st_size / 1e6)
    assert later.measured["speedup"] > 0
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"tail")
    damaged = only(judge_speed(rules, entrants(artifacts, "onnx"), repository))
    assert not damaged.passed and "published version cannot be measured" in damaged.reason


@pytest.mark.parametrize("wrong", [{}, {"min_speedup": 0}, {"against": "nothing", "min_speedup": 1}])
def test_the_specification_is_checked(wrong):
    values = SPEC | {"gates": {"speed": wrong}}
    with pytest.raises(ValueError, match="speed"):
        ModelSpec.model_validate(values)


def test_the_specification_can_ask(tmp_path: Path):
    spec = ModelSpec.model_validate(SPEC).changed(["gates.speed={against: published, min_speedup: 0.9}"])
    assert spec.gates.speed.against == "published"
    with pytest.raises(SpecInvalid):
        ModelSpec.model_validate(SPEC).changed(["gates.speed={against: published}"])
