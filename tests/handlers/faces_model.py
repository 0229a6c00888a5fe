"""The contract of faces and MTCNN's trained networks, run by torch, for the tests of what stands around them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from export.sources.checkpoint import read_checkpoint
from export.sources.package_file import from_package
from export.sources.state import load_state
from export.wrap import eager_network, wrap
from handlers.calls import Call, InProcess, Output
from handlers.pipeline import Pipeline
from samples.faces import networks
from slipway.contract import Attribute, Contract, Network, Normalise, Part, Postprocess, Preprocess

NORMALISE = Normalise(128.0, (127.5 / 128,) * 3)
LABELS = ("dark", "light")


def contract(attributes: Sequence[Attribute] = (), **settings: Any) -> Contract:
    parts = tuple(
        Part(name, Network(f"faces.{name}.onnx", "onnx", "model.onnx", max_batch_size=limit), NORMALISE, side, side)
        for name, side, limit in (("pnet", 0, 8), ("rnet", 24, 256), ("onet", 48, 64))
    )
    return Contract(
        model="faces",
        task="faces",
        preprocess=Preprocess(0, 0),
        network=parts[0].network,
        labels=(),
        handler="handlers.faces:Faces",
        parts=parts,
        attributes=tuple(attributes),
        settings=settings,
    )


def brightness(on: str = "items", margin: float = 0.0, side: int = 64) -> Attribute:
    """A classifier of crops by their mean: a network whose answers can be told in advance."""
    own = Contract(
        model="faces",
        task="classification",
        preprocess=Preprocess(side, side, resize="stretch"),
        network=Network("faces.light.onnx", "onnx", "model.onnx"),
        labels=LABELS,
        postprocess=Postprocess(top_k=1),
    )
    return Attribute("light", on, own, margin)


def is_light(pixels: np.ndarray) -> Output:
    means = pixels.reshape(len(pixels), -1).mean(axis=1)
    return np.stack([127 - means, means - 127], axis=1).astype(np.float32)


class Counting(InProcess):
    """Keeps what was asked of the networks."""

    def __init__(self, of: Contract) -> None:
        super().__init__({**runs(), "attributes/light": is_light}, of)
        self.lists: list[list[tuple[str, tuple[int, ...]]]] = []

    def run(self, calls: Sequence[Call]) -> list[Output]:
        self.lists.append([(call.network, call.pixels.shape) for call in calls])
        return super().run(calls)


@lru_cache(maxsize=1)
def runs() -> dict[str, Any]:
    torch.set_num_threads(1)
    found = {}
    for name in ("pnet", "rnet", "onet"):
        module = getattr(networks, name)()
        load_state(module, read_checkpoint(from_package(f"package:facenet-pytorch/data/{name}.pt")), name)
        found[name] = eager_network(wrap(module, NORMALISE))
    return found


def pipeline(attributes: Sequence[Attribute] = (), **settings: Any) -> tuple[Pipeline, Counting]:
    made = contract(attributes, **settings)
    networks = Counting(made)
    return Pipeline(made, networks), networks


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
