"""The serving environment has numpy 1.26: faces there are the faces here, and every network sees the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export.sources.package_file import from_package
from serving.triton.environment import find_triton
from slipway.errors import SlipwayError
from tests.handlers.faces_model import NORMALISE, contract

ROOT = Path(__file__).parents[2]
#: Runs the three networks as ONNX, whose runtime is of the same kind in both environments.
PROGRAM = """
import hashlib, io, json, sys
from pathlib import Path
import numpy as np
import onnxruntime
from PIL import Image
from handlers.pipeline import Pipeline
from slipway.contract import Contract

folder = Path(sys.argv[1])
sessions = {name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
            for name in ("pnet", "rnet", "onet")}
digest = hashlib.sha256()

class Networks:
    def run(self, calls):
        for call in calls:
            digest.update(f"{call.network} {call.pixels.shape}".encode() + call.pixels.tobytes())
        return [sessions[call.network].run(None, {"pixels": call.pixels})[0] for call in calls]

pipeline = Pipeline(Contract.read(folder / "contract.json"), Networks())
crops = []
for name in sorted(sys.argv[2:]):
    (found,) = pipeline.run([Path(name).read_bytes()])
    image = Image.open(name).convert("RGB")
    for crop in pipeline.task.crops(image, found, 0.1):
        digest.update(crop.tobytes())
    crops.append([found.boxes.tolist(), found.scores.tolist(), found.landmarks.tolist()])
print(json.dumps([np.__version__, digest.hexdigest(), crops]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from export.formats.base import ExportOptions
    from export.formats.onnx import Onnx

    made = tmp_path_factory.mktemp("networks")
    for name, side in (("pnet", 40), ("rnet", 24), ("onet", 48)):
        options = ExportOptions(4, made, free_sides=(1, 2) if name == "pnet" else ())
        example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
        Onnx().write(module_of(name), example, made / f"{name}.onnx", options)
    (made / "contract.json").write_text(contract().to_json())
    return made


def module_of(name: str) -> Any:
    from export.sources.checkpoint import read_checkpoint
    from export.wrap import wrap
    from samples.faces import networks

    module = getattr(networks, name)()
    module.load_state_dict(read_checkpoint(from_package(f"package:facenet-pytorch/data/{name}.pt")))
    return wrap(module, NORMALISE)


def test_numpy_1_and_2_find_the_same(folder: Path, tmp_path: Path) -> None:
    import numpy as np

    from samples.faces.scene import Plan, draw

    try:
        python = find_triton(ROOT / ".venv-triton").environment / "bin" / "python"
    except SlipwayError as problem:
        pytest.skip(f"the serving environment is not there: {problem}")
    for number in range(3):
        draw(Plan((480, 320), 3, 1), np.random.default_rng(number)).picture.save(tmp_path / f"{number}.png")
    here, there = (found_by(interpreter, folder, tmp_path) for interpreter in (Path(sys.executable), python))
    assert here[0].startswith("2.") and there[0].startswith("1.26."), "what Triton's stub reads rightly"
    assert sum(len(scores) for _, scores, _ in here[2]) == 12
    for one, two in zip(here[2], there[2], strict=True):
        for own, other in zip(one, two, strict=True):
            assert np.allclose(own, other, atol=1e-3)
    assert here[1] == there[1], "inputs of networks, and crops"


def found_by(python: Path, folder: Path, pictures: Path) -> Any:
    files = sorted(str(path) for path in pictures.glob("*.png"))
    done = subprocess.run([python, "-c", PROGRAM, folder, *files], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
