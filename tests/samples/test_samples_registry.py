"""The registry that the command line calls: names, splits, and reports that become JSON."""

import json
from types import SimpleNamespace

import pytest

from samples.recipes import Recipe
from samples.registry import SampleReport, available, prepare, write_images
from slipway.errors import SampleUnavailable


def test_available_names_models_and_splits():
    assert {info.name: info.models for info in available()} == {
        "digits": ("digits",),
        "photos": ("resnet18", "resnet50", "mobilenet_v3_large"),
        "scenes": ("scenes",),
        "faces": ("faces",),
        "texts": ("ocr",),
        "vectors": ("vectors",),
        "strokes": ("strokes",),
        "groups": ("groups",),
    }


def test_digits_are_written_by_split(tmp_path):
    paths = write_images("digits", "test", tmp_path / "test")
    assert len(paths) == len(list((tmp_path / "test").glob("?_????.png"))) == 901


def test_digits_for_calibration_are_a_part_of_their_own(tmp_path):
    assert len(write_images("digits", "calibration", tmp_path)) == 64
    (digits,) = [info for info in available() if info.name == "digits"]
    assert digits.splits == ("test", "train", "calibration")


@pytest.mark.parametrize(("name", "split"), [("cats", "test"), ("digits", "validation"), ("photos", "train")])
def test_unknown_names_are_refused_with_the_known(tmp_path, name, split):
    with pytest.raises(SampleUnavailable, match="expected one of"):
        write_images(name, split, tmp_path)


def test_unknown_sample_is_not_prepared(tmp_path):
    with pytest.raises(SampleUnavailable, match="digits, photos"):
        prepare("cats", SimpleNamespace(root=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_report_is_json(tmp_path):
    made = Recipe({}, [], []).make(tmp_path / "part.json", lambda: ([], {"accuracy": 0.99}))
    report = SampleReport("digits", tmp_path, {"base": made}, 1.0)
    assert not report.reused
    assert json.loads(json.dumps(report.to_dict()))["parts"]["base"]["accuracy"] == 0.99
