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
