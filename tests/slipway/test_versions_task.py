"""`slipway versions` shows how well a version does its task, whatever its gate was called when it was published."""

from dataclasses import replace
from pathlib import Path

import pytest

from slipway.cli.versions import _rows
from slipway.repository import Repository
from tests.slipway.publishing import publication


@pytest.mark.parametrize("gate", ["task", "accuracy"])
def test_the_worst_format_is_shown(tmp_path: Path, gate: str) -> None:
    def numbers(exported: float) -> dict:
        return {gate: {"labelled": True, "exported": exported}, "parity": {"images": 16}}

    formats = {"onnx": numbers(0.99), "onnx-int8": numbers(0.98), "torchscript": {}}
    evidence = {"passed": True, "images": 72, "formats": formats}
    repository = Repository(tmp_path / "repository")
    repository.publish(replace(publication(tmp_path / "files"), evidence=evidence))
    (row,) = _rows(repository, "digits", verify=True)
    assert row["task"] == 0.98


def test_without_labels_nothing_is_shown(tmp_path: Path) -> None:
    evidence = {"passed": True, "images": 36, "formats": {"onnx": {"task": {"labelled": False, "agreement": 1.0}}}}
    repository = Repository(tmp_path / "repository")
    repository.publish(replace(publication(tmp_path / "files"), evidence=evidence))
    (row,) = _rows(repository, "digits", verify=False)
    assert row["task"] is None
