"""What networks are asked is noted image by image, where and only where the variable names a folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from handlers.calls import ONLY
from handlers.pipeline import Pipeline
from handlers.trace import TRACE_VARIABLE
from tests.serving.dominant_colour import contract, logits, photograph


def run(images: list[bytes]) -> list[np.ndarray]:
    """Answers some images; gives the inputs that the network has really got."""
    got: list[np.ndarray] = []

    def network(pixels: np.ndarray) -> np.ndarray:
        got.extend(pixels.copy())
        return logits(pixels, 4.0)

    Pipeline(contract("colour"), network).run(images)
    return got


def test_every_image_of_every_call_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACE_VARIABLE, str(tmp_path))
    got = run([photograph(name) for name in ("coffee.png", "chelsea.png", "rocket.jpg")])
    (file,) = tmp_path.iterdir()
    assert file.name == f"{os.getpid()}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["sha256"] for line in lines] == [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in got]
    assert [line["shape"] for line in lines] == [list(pixels.shape) for pixels in got]
    assert {line["network"] for line in lines} == {ONLY}
    assert len({line["sha256"] for line in lines}) == 3


def test_without_the_variable_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert len(run([photograph()])) == 1
    assert not list(tmp_path.iterdir())
