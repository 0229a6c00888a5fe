"""PP-OCR's real networks behind a contract, opened in process, for tests: no export, no server."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from handlers.calls import InProcess, RunNetwork
from handlers.pipeline import Pipeline
from samples.texts.files import recogniser, write_symbols
from slipway.settings import Settings
from slipway.spec import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
FILES = {"det": "PP-OCRv6_det_small.onnx", "cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "rec": recogniser().name}


@functools.cache
def pipeline(folder: Path) -> Pipeline:
    """As config/models/ocr.yaml has it. ``folder``: takes the alphabet."""
    write_symbols(folder / "characters.txt")
    settings = Settings(root=ROOT)
    spec = ModelSpec.load(settings.models_dir / "ocr.yaml")
    item = spec.networks["rec"].model_copy(update={"labels_file": str(folder / "characters.txt")})
    spec = spec.model_copy(update={"networks": {**spec.networks, "rec": item}})
    contract = spec.contract(folder)
    return Pipeline(contract, InProcess({name: _open(name) for name in FILES}, contract))


def _open(name: str) -> RunNetwork:
    """All three take (pixels / 255 - 0.5) / 0.5, which is what the exported graphs have inside."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(recogniser().parent / FILES[name]), options)
    given = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        images = (pixels.astype(np.float32) / 255.0 - 0.5) / 0.5
        output: np.ndarray = session.run(None, {given: np.ascontiguousarray(images.transpose(0, 3, 1, 2))})[0]
        return output

    return run
