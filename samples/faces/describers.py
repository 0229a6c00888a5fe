"""Small networks that describe a face, with RANDOM weights: they prove the way of a face through alignment, crops and
parallel networks, and know nothing of age, gender, emotion or who somebody is.

A plain random initialisation would give every face nearly the same answer, so that a broken export could hide behind a
tolerance. Here the statistics are those of real faces (data-dependent initialisation in the manner of Mishkin and
Matas, arXiv 1511.06422): the last normalisation makes them differ.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from samples.deterministic import deterministic
from samples.faces.portraits import PORTRAITS, portrait
from samples.weights import write_weights
from slipway.files import write_atomically

SIDE = 112
#: Standard deviation of the outputs over the portraits: that of a trained classifier's logits is 1 to 3.
_SPREAD = 2.0
#: Names as in the ArcFace file of the ONNX model zoo.
_INPUT, _OUTPUT, _OPSET = "data", "fc1", 17


class Describer(nn.Module):
    """float32[N, 3, 112, 112], normalised, to float32[N, outputs]."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width, 8 * width)
        self.stages = nn.Sequential(*(_stage(one, two) for one, two in pairwise(channels)), nn.AvgPool2d(3))
        self.head = nn.Linear(4 * channels[-1], outputs, bias=False)
        self.scale = nn.BatchNorm1d(outputs)

    def forward(self, faces: Tensor) -> Tensor:
        """Outputs of a batch."""
        described: Tensor = self.scale(self.head(self.stages(faces).flatten(1)))
        return described


def build(outputs: int, width: int = 8) -> nn.Module:
    """The network as it is initialised; ``width``: channels of its first stage."""
    return Describer(outputs, width)


def write_random(outputs: int, seed: int, out: Path) -> None:
    """Writes random weights: ``.safetensors`` for the factory ``build``, or ``.onnx``, an ArcFace-style network of
    float32[N, 3, 112, 112] to float32[N, outputs]. Equal seeds give equal bytes with the same torch."""
    with deterministic(seed):
        module = build(outputs)
        _fit_statistics(module)
    if out.suffix == ".onnx":
        _write_onnx(module, out)
    else:
        write_weights(module, out)


def _stage(channels_in: int, channels_out: int) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels_out, 3, 2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


def _fit_statistics(module: nn.Module) -> None:
    """One pass in train mode; momentum None makes the running statistics exactly those of the portraits."""
    norms = [layer for layer in module.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for layer in norms:
        layer.momentum = None
    with torch.no_grad():
        nn.init.constant_(norms[-1].weight, _SPREAD)
        module.train()(_faces())
    for layer in norms:
        layer.momentum = 0.1
    module.eval()


def _faces() -> Tensor:
    """float32[N, 3, 112, 112], normalised as config/models/faces.yaml says."""
    faces = [portrait(number).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for number in range(PORTRAITS)]
    pixels = torch.from_numpy(np.stack([np.asarray(face) for face in faces]))
    return (pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5


def _write_onnx(module: nn.Module, out: Path) -> None:
    unfinished = out.with_suffix(".making")
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module,
        (torch.zeros(2, 3, SIDE, SIDE),),
        str(unfinished),
        dynamo=False,  # as insightface's own files were made
        input_names=[_INPUT],
        output_names=[_OUTPUT],
        dynamic_axes={_INPUT: {0: "batch"}, _OUTPUT: {0: "batch"}},
        opset_version=_OPSET,
    )
    write_atomically(out, unfinished.read_bytes())
    unfinished.unlink()
