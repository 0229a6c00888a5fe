"""Trains the detector on scenes drawn as it goes, deterministically, and measures it on the held-out scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from export.metrics.base import once
from export.metrics.detection import Boxes, average_precision
from handlers.boxes import non_maximum_suppression
from handlers.preprocess import Preprocessor
from samples.deterministic import deterministic
from samples.scenes.files import scenes
from samples.scenes.learning import loss, targets
from samples.scenes.network import NUM_CLASSES, SceneDetector
from samples.scenes.plan import MEAN, PREPROCESS, STD, Training
from samples.scenes.scene import Plan, draw

#: Pixels, classes and boxes of a batch.
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
#: Detections below this score move no precision that counts.
_LEAST_SCORE = 0.02
_PREPROCESSOR = Preprocessor(PREPROCESS)


def fit(settings: Training, done: Callable[[float], None]) -> SceneDetector:
    """The trained module in eval mode; ``done`` is told the fraction of the steps."""
    with deterministic(settings.seed):
        module = _laid_out(SceneDetector(settings.width, NUM_CLASSES), torch.channels_last).train()
        optimiser = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.2
        )
        for step, (images, classes, boxes) in enumerate(_batches(settings)):
            optimiser.zero_grad()
            found, logits = module.raw(images)
            loss(found, logits, classes, boxes).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            done((step + 1) / settings.steps)
        return _laid_out(module, torch.contiguous_format).eval()


def evaluate(module: nn.Module) -> dict[str, float]:
    """``map50`` and ``map`` of ``module``, in eval mode, on the held-out scenes, by pycocotools."""
    drawn = list(scenes("test"))
    truth = [Boxes(scene.boxes, scene.labels) for scene in drawn]
    found = [detected(module, scene.pixels) for scene in drawn]
    map50, whole = (once(average_precision(truth, found, thresholds)) for thresholds in ([0.5], None))
    return {"map50": round(map50, 4), "map": round(whole, 4), "held_out": len(drawn)}


def detected(module: nn.Module, pixels: npt.NDArray[np.uint8]) -> Boxes:
    """What ``module`` finds on one scene, uint8[H, W, 3]; sides are multiples of 16."""
    with torch.inference_mode():
        rows = module(normalised(torch.from_numpy(pixels[None])))[0].numpy()
    scores, classes = rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1)
    likely = np.flatnonzero(scores > _LEAST_SCORE)
    boxes, scores, classes = rows[likely, :4], scores[likely], classes[likely]
    kept = non_maximum_suppression(boxes, scores, classes, 0.5, 100)
    return Boxes(boxes[kept], classes[kept], scores[kept])


def transform(picture: Image.Image) -> torch.Tensor:
    """A picture in RGB to normalised ``float32[3, 416, 416]``: what the network is given, and its specification names
    it, so that the export compares the contract with it."""
    pixels = np.array(_PREPROCESSOR.from_image(picture).pixels)  # torch warns of arrays that only read a picture
    return normalised(torch.from_numpy(pixels[None]))[0]


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8[N, H, W, 3] -> float32[N, 3, H, W], as the exported graph does it."""
    return (pixels.permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


def _laid_out(module: SceneDetector, memory_format: torch.memory_format) -> SceneDetector:
    """The module itself; channels last is twice as fast to train on a CPU."""
    return module.to(memory_format=memory_format)  # type: ignore[call-overload,no-any-return]


def _batches(settings: Training) -> Iterator[Batch]:
    """The next batch is drawn while the network learns from this one; each has a seed of its own, so order is fixed."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_batch, settings, step) for step in range(min(2, settings.steps))]
        for step in range(settings.steps):
            if step + len(ahead) < settings.steps:
                ahead.append(pool.submit(_batch, settings, step + len(ahead)))
            yield ahead.pop(0).result()


def _batch(settings: Training, step: int) -> Batch:
    random = np.random.default_rng((settings.seed, step))
    plan = Plan((settings.side, settings.side), settings.digits)
    scenes = [draw(plan, "train", random) for _ in range(settings.batch_size)]
    told = [targets(scene.boxes, scene.labels, settings.side) for scene in scenes]
    pixels = normalised(torch.from_numpy(np.stack([scene.pixels for scene in scenes])))
    classes, boxes = (torch.from_numpy(np.stack(parts)) for parts in zip(*told, strict=True))
    return pixels.contiguous(memory_format=torch.channels_last), classes, boxes
