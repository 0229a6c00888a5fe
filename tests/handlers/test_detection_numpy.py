"""The serving environment has numpy 1.26: detection there gives the numbers that it gives here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.triton.environment import find_triton
from slipway.errors import SlipwayError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import io, json
import numpy as np
from PIL import Image
from handlers.pipeline import Pipeline
from slipway.contract import Contract, Network, Preprocess

def answers(pixels):  # any fixed function of the pixels will do: it is the arithmetic around it that is compared
    random = np.random.default_rng(int(pixels.sum()) % 1000)
    corners = random.uniform(0, 100, (len(pixels), 300, 2))
    far = corners + random.uniform(4, 40, corners.shape)
    return np.concatenate([corners, far, random.normal(0, 2, (len(pixels), 300, 5))], axis=2).astype(np.float32)

found = []
for tile in ("never", "always"):
    settings = {"activation": "sigmoid", "objectness": True, "score_threshold": 0.3, "tile": {"enabled": tile}}
    contract = Contract("any", "detection", Preprocess(128, 128, resize="letterbox"),
        Network("any.onnx", "onnx", "model.onnx"), ("a", "b", "c", "d"),
        handler="handlers.detection:Detection", settings=settings)
    for size in ((300, 200), (128, 128), (90, 333)):
        file = io.BytesIO()
        Image.radial_gradient("L").resize(size).save(file, "PNG")
        (result,) = Pipeline(contract, answers).run([file.getvalue()], {"score_threshold": "0.4", "classes": "a,b,d"})
        found.append([result.boxes.tolist(), result.scores.tolist(), result.labels])
print(json.dumps([np.__version__, found]))
"""


def test_numpy_1_and_2_detect_the_same() -> None:
    try:
        python = find_triton(ROOT / ".venv-triton").environment / "bin" / "python"
    except SlipwayError as problem:
        pytest.skip(f"the serving environment is not there: {problem}")
    versions, answers = zip(*(detected(interpreter) for interpreter in (Path(sys.executable), python)), strict=True)
    assert versions[1].startswith("1.26."), "what Triton's stub reads rightly"
    assert [labels for _, _, labels in answers[0]] == [labels for _, _, labels in answers[1]]
    assert sum(len(labels) for _, _, labels in answers[0]) > 100
    for here, there in zip(*answers, strict=True):
        assert np.array_equal(here[0], there[0])
        assert np.abs(np.array(here[1]) - there[1]).max() < 1e-6


def detected(python: Path) -> tuple[str, list[tuple[list[list[float]], list[float], list[str]]]]:
    done = subprocess.run([python, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    version, answers = json.loads(done.stdout)
    return version, answers
