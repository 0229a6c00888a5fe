"""Real archives for the tests: trained digits networks, packed by torch-model-archiver as its users pack them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from samples.digits.network import build
from tests.conftest import ROOT

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
DIGITS = ROOT / "var/samples/digits"


class Classifier(nn.Module):
    """The trained digits network behind TorchServe's fixed input: ImageNet-normalised float[N, 3, 224, 224]."""

    def __init__(self) -> None:
        super().__init__()
        from safetensors.torch import load_file

        self.digits = build(16)
        self.digits.load_state_dict(load_file(DIGITS / "base.safetensors"))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def pixels(self, images: Tensor) -> Tensor:
        """What the digits network was trained on: grey, 32x32, -1..1."""
        upright = images * self.std + self.mean
        grey = upright.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return functional.avg_pool2d(grey, 7) * 2 - 1

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.digits(self.pixels(images))


class Segmenter(Classifier):
    """Ink or paper for every pixel, in the dictionary that torchvision's segmentation networks return."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Two maps of logits."""
        ink = functional.interpolate(self.pixels(images)[:, :1], size=(224, 224), mode="bilinear")
        return {"out": torch.cat([-4 * ink, 4 * ink], dim=1)}


class Detector(nn.Module):
    """The bounding box of everything bright, as torchvision's detectors answer: one dictionary per image."""

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Boxes of the picture's bright part, one certain and one below the threshold."""
        found: list[dict[str, Tensor]] = []
        for index in range(images.shape[0]):
            bright = images[index].mean(dim=0) > 0.3
            rows, columns = torch.where(bright)
            if rows.numel() == 0:
                boxes, scores = torch.zeros(0, 4), torch.zeros(0)
            else:
                low, high = torch.stack([columns.min(), rows.min()]), torch.stack([columns.max(), rows.max()]) + 1
                box = torch.cat([low, high]).to(torch.float32)
                boxes = torch.stack([box, box / 2])
                scores = torch.stack([0.5 + bright.to(torch.float32).mean() / 2, torch.tensor(0.25)])
            labels = torch.ones(boxes.shape[0], dtype=torch.int64) + 1
            found.append({"boxes": boxes, "labels": labels, "scores": scores})
        return found


def scripted(module: nn.Module, path: Path) -> Path:
    """Saves a module as TorchScript."""
    torch.jit.script(module.eval()).save(str(path))
    return path


def pack(folder: Path, name: str, handler: str, **more: Any) -> Path:
    """What ``torch-model-archiver`` does, as a library. ``files``: name -> text, packed beside the others."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import generate_model_archive

    files: dict[str, str] = more.pop("files", {})
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    for inside, text in files.items():
        (folder / inside).write_text(text, encoding="utf-8")
    extra = ",".join(str(folder / inside) for inside in files)
    config = ModelArchiverConfig(
        model_name=name,
        handler=handler,
        version=more.pop("version", "1.0"),
        extra_files=extra or None,
        export_path=str(store),
        force=True,
        **{key: str(value) for key, value in more.items()},
    )
    generate_model_archive(config)
    return store / name if more.get("archive_format") == "no-archive" else next(store.glob(f"{name}.*"))


def mapping() -> dict[str, str]:
    """index_to_name.json of the digits."""
    return {"index_to_name.json": json.dumps({str(index): name for index, name in enumerate(NAMES)})}


def classifier(folder: Path, name: str = "Digits", **more: Any) -> Path:
    """An archive with handler image_classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    script = scripted(Classifier(), folder / "model.pt")
    return pack(folder, name, "image_classifier", serialized_file=script, files=mapping(), **more)


def photographs(folder: Path, step: int) -> Path:
    """Every ``step``-th held-out digit in RGB, 320x300, named by its label."""
    from PIL import Image

    for index, path in enumerate(sorted((DIGITS / "test").iterdir())[::step]):
        with Image.open(path) as image:
            large = image.convert("RGB").resize((320, 300), Image.Resampling.BICUBIC)
        large.save(folder / f"{NAMES[int(path.name[0])]}_{index:03d}.png")
    return folder


def segmenter(folder: Path, name: str = "ink") -> Path:
    """An archive with handler image_segmenter, as .tar.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    script = scripted(Segmenter(), folder / "model.pt")
    names = {"index_to_name.json": '{"0": "paper", "1": "ink"}'}
    return pack(folder, name, "image_segmenter", serialized_file=script, files=names, archive_format="tgz")


def detector(folder: Path, name: str = "bright") -> Path:
    """An archive with handler object_detector, as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    script = scripted(Detector(), folder / "model.pt")
    names = {"index_to_name.json": '{"1": "dark", "2": "bright"}'}
    return pack(folder, name, "object_detector", serialized_file=script, files=names, archive_format="no-archive")


MODEL_FILE = """
from pathlib import Path

import torch
from torch import nn

{first}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 7, stride=4)
        self.head = nn.Linear(8, 10)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean(dim=(2, 3)))
"""


def eager(folder: Path, name: str = "eager", first: str = "", handler: str = "image_classifier") -> Path:
    """An archive whose network is Python code and a state_dict; ``first``: a line that its import runs."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.py"
    file.write_text(MODEL_FILE.format(first=first), encoding="utf-8")
    torch.manual_seed(0)
    state = {f"conv.{key}": value for key, value in nn.Conv2d(3, 8, 7).state_dict().items()}
    state |= {f"head.{key}": value for key, value in nn.Linear(8, 10).state_dict().items()}
    torch.save(state, folder / "weights.pth")
    weights = folder / "weights.pth"
    return pack(folder, name, handler, serialized_file=weights, model_file=file, files=mapping())


HANDLER = '''
"""A handler as TorchServe's users write them, with a neighbour and its own labels."""

import io

import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler

from helper import pixels_of

{first}


class DigitsHandler(BaseHandler):
    def preprocess(self, data):
        images = [Image.open(io.BytesIO(row.get("data") or row.get("body"))) for row in data]
        return torch.stack([torch.from_numpy(pixels_of(image.convert("RGB"))) for image in images]).to(self.device)

    def postprocess(self, data):
        scores = torch.softmax(data, dim=1)
        best = scores.argmax(dim=1)
        return [{{"digit": self.mapping[str(int(b))], "score": float(s[b])}} for s, b in zip(scores, best)]
'''
HELPER = """
import numpy as np
from PIL import Image


def pixels_of(image):
    pixels = np.asarray(image.resize((224, 224), Image.BILINEAR), np.float32) / 255
    normal = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return normal.transpose(2, 0, 1).copy()
"""


def own(folder: Path, name: str = "own-digits", first: str = "") -> Path:
    """An archive with a handler of the user's own; ``first``: a line that its import runs."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = folder / "handler.py"
    handler.write_text(HANDLER.format(first=first), encoding="utf-8")
    config = folder / "model-config.yaml"
    config.write_text("minWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 5\n", encoding="utf-8")
    script = scripted(Classifier(), folder / "model.pt")
    files = {**mapping(), "helper.py": HELPER}
    return pack(folder, name, str(handler), serialized_file=script, config_file=config, files=files)
