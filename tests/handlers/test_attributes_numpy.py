"""The serving environment has numpy 1.26: attributes, embeddings and several labels there are what they are here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.triton.environment import find_triton
from slipway.errors import SlipwayError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import io, json
import numpy as np
from PIL import Image
from handlers.calls import InProcess
from handlers.fields import pack, plain, unpack
from handlers.pipeline import Pipeline
from slipway.contract import Attribute, Contract, Network, Postprocess, Preprocess

def seeded(pixels, shape):  # any fixed function of the pixels will do: what is around it is compared
    return np.stack([np.random.default_rng(int(one.sum()) % 9973).normal(size=shape) for one in pixels])

def boxes(pixels):
    corners = np.abs(seeded(pixels, (6, 2))) * 30
    scores = seeded(pixels, (6, 5))
    return np.concatenate([corners, corners + 30, scores], axis=2).astype(np.float32)

def single(name, task, labels=(), **values):
    return Contract("any", task, Preprocess(24, 24, resize="stretch"), Network(name, "onnx", "model.onnx"), labels,
        handler=f"handlers.{task}:{task.capitalize()}", **values)

several = Postprocess("sigmoid", top_k=5, score_threshold=0.6)
attributes = (
    Attribute("kind", "items", single("k", "classification", tuple("abcde"), postprocess=several), 0.2),
    Attribute("id", "items", single("i", "embedding")),
    Attribute("scene", "image", single("s", "classification", tuple("abcde"), postprocess=several)),
)
contract = Contract("any", "detection", Preprocess(96, 96, resize="letterbox"), Network("n", "onnx", "model.onnx"),
    tuple("abcd"), handler="handlers.detection:Detection", attributes=attributes,
    settings={"activation": "sigmoid", "objectness": True, "score_threshold": 0.3, "tile": {"enabled": "never"}})
runs = {name: lambda pixels: seeded(pixels, (5,)).astype(np.float32) for name in contract.networks()}
pipeline = Pipeline(contract, InProcess({**runs, "network": boxes}, contract))
images = []
for size in ((300, 200), (64, 90), (128, 128)):
    file = io.BytesIO()
    Image.radial_gradient("L").resize(size).save(file, "PNG")
    images.append(file.getvalue())
records = [answer.record() for answer in pipeline.run(images)]
fields = pipeline.task.fields
tensors = pack(fields, records, pipeline.task.width(pipeline.task.options({})))
told = [plain(fields, record) for record in records]
assert unpack(fields, tensors) == told
print(json.dumps({"numpy": np.__version__, "records": told}))
"""


def test_numpy_1_and_2_answer_the_same() -> None:
    try:
        python = find_triton(ROOT / ".venv-triton").environment / "bin" / "python"
    except SlipwayError as problem:
        pytest.skip(f"the serving environment is not there: {problem}")
    here, there = (answers(interpreter) for interpreter in (Path(sys.executable), python))
    assert there["numpy"].startswith("1.26."), "what Triton's stub reads rightly"
    assert sum(len(record["boxes"]) for record in here["records"]) > 3
    for first, second in zip(here["records"], there["records"], strict=True):
        assert first["kind.labels"] == second["kind.labels"] and first["scene.labels"] == second["scene.labels"]
        assert len({len(names) for names in first["kind.labels"]} | {0}) > 1
        for name in ("boxes", "id.embedding"):
            assert np.allclose(first[name], second[name], atol=1e-6)


def answers(python: Path) -> dict[str, Any]:
    done = subprocess.run([python, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    values: dict[str, Any] = json.loads(done.stdout)
    return values
