"""The serving environment has numpy 1.26: its networks are asked the very same about text, and it is read the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samples.texts.files import recogniser, write, write_symbols
from serving.triton.environment import find_triton
from slipway.errors import SlipwayError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import onnxruntime
from handlers.calls import InProcess
from handlers.pipeline import Pipeline
from slipway.contract import Contract, Network, Part, Preprocess

models, alphabet, *images = map(Path, sys.argv[1:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
files = {"det": "PP-OCRv6_det_small.onnx", "cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx"}
files["rec"] = "PP-OCRv6_rec_small.onnx"
sizes = {"det": (0, 0), "cls": (48, 192), "rec": (48, 0)}
asked = []

def opened(name):
    session = onnxruntime.InferenceSession(str(models / files[name]), options)
    given = session.get_inputs()[0].name
    def run(pixels):
        asked.append([name, list(pixels.shape), hashlib.sha256(pixels.tobytes()).hexdigest()])
        values = (pixels.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
        return session.run(None, {given: np.ascontiguousarray(values.transpose(0, 3, 1, 2))})[0]
    return run

symbols = tuple(alphabet.read_text(encoding="utf-8").split("\\n")[:-1])
parts = tuple(
    Part(name, Network(f"ocr.{name}.onnx", "onnx", "model.onnx"), height=size[0], width=size[1], colour="bgr",
        labels=symbols if name == "rec" else ())
    for name, size in sizes.items())
contract = Contract("ocr", "ocr", Preprocess(1, 1), parts[0].network, (),
    handler="handlers.ocr:Ocr", parts=parts)
networks = InProcess({name: opened(name) for name in files}, contract)
results = Pipeline(contract, networks).run([image.read_bytes() for image in images], {"text_score": "0.3"})
found = [[list(result.texts), result.quads.tolist(), result.scores.tolist()] for result in results]
print(json.dumps([np.__version__, found, asked]))
"""


def test_numpy_1_and_2_read_the_same(tmp_path: Path) -> None:
    try:
        python = find_triton(ROOT / ".venv-triton").environment / "bin" / "python"
    except SlipwayError as problem:
        pytest.skip(f"the serving environment is not there: {problem}")
    write_symbols(tmp_path / "characters.txt")
    names = ("line-01.jpg", "line-04.png", "page-04.png", "page-07.jpg")  # turned a little, on its head, on its side
    images = [path for path in write(tmp_path / "texts") if path.name in names]
    arguments = [recogniser().parent, tmp_path / "characters.txt", *images]
    (one, here, asked), (two, there, other) = (read(path, arguments) for path in (Path(sys.executable), python))
    assert not one.startswith("1.") and two.startswith("1.26."), "what Triton's stub reads rightly"
    assert asked[0] == other[0] and [call[0] for call in asked] == [call[0] for call in other]
    assert [item[0] for item in here] == [item[0] for item in there]
    assert sum(len(item[0]) for item in here) >= 8
    for first, second in zip(here, there, strict=True):
        assert np.abs(np.array(first[1]) - second[1]).max() < 0.5
        assert np.abs(np.array(first[2]) - second[2]).max() < 1e-3
    assert asked == other, "every network is asked the very same"


def read(python: Path, arguments: list[Path]) -> tuple[str, list[list[list[float]]], list[list[str]]]:
    command = [python, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    version, found, asked = json.loads(done.stdout)
    return version, found, asked
