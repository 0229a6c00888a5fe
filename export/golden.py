"""The golden prediction of a version: one real image and what the served network answers to it.

Servers compare with it before they send traffic to a version, so the image is one that the model is sure about: ties
that rounding could turn would make a readiness check flap.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image

from export.gates.base import Reference
from export.images import HeldOutImage
from export.tasks.base import Judge
from export.tasks.registry import judge_of
from export.whole import Whole
from handlers.calls import Networks, RunNetwork
from handlers.fields import plain
from handlers.pipeline import Pipeline
from slipway.errors import ImageError, SamplesInvalid

#: Longer side of a golden image at most, pixels: servers answer it again and again.
_LONGEST = 640
#: How many of the surest held-out images are re-encoded and asked again.
_CANDIDATES = 5


@dataclass(frozen=True)
class Golden:
    """``image``: PNG bytes. ``record``: of the served networks through the whole pipeline, JSON-ready, as
    handlers.fields.plain gives it. ``margin``: how sure the answer is: of one label, best score minus the second; of
    other tasks as their judge says (export.tasks). ``name``: the held-out image it was made of."""

    name: str
    image: bytes
    record: dict[str, Any]
    margin: float

    def expected_json(self) -> str:
        """The text of golden/expected.json."""
        return json.dumps({"record": self.record}, indent=2, ensure_ascii=False) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """What the evidence says about it."""
        labels = [str(label) for label in self.record.get("labels", ())]
        found = {"label": labels[0]} if labels else {}
        return {"image": self.name, "bytes": len(self.image), **found, "margin": self.margin}


def choose_golden(reference: Reference, served: RunNetwork | None = None) -> Golden:
    """The held-out image with the largest margin, correctly classified where labels are known.

    ``served``: the network that the version is served with, whose answer is expected of servers: that of INT8 is not
    the trained model's to a hundredth. Without it (a plan, which needs its GPU) the trained model's is."""
    pipeline = Pipeline(reference.contract, served or reference.run)
    surest = [reference.held_out.images[index] for index in _by_margin(reference)[:_CANDIDATES]]
    return max((_of_labels(pipeline, image) for image in surest), key=lambda golden: golden.margin)


def choose_golden_answer(whole: Whole, served: Networks | None = None) -> Golden:
    """The same for every other task: the held-out image whose answer is surest, among the surest of the trained model.

    ``served``: as above, all networks."""
    pipeline, judge = Pipeline(whole.contract, served or whole.networks), judge_of(whole.contract)
    sure = [judge.certainty(record) for record in whole.records]
    surest = sorted(range(len(sure)), key=lambda index: sure[index], reverse=True)[:_CANDIDATES]
    return max((_answer(pipeline, judge, whole.held_out.images[index]) for index in surest), key=lambda one: one.margin)


def _answer(pipeline: Pipeline, judge: Judge, image: HeldOutImage) -> Golden:
    encoded = _as_png(image.encoded)
    (answer,) = pipeline.run([encoded])
    if isinstance(answer, ImageError):
        raise SamplesInvalid(f"held-out image {image.name} gives no result as PNG", observed=str(answer))
    record = answer.record()
    return Golden(image.name, encoded, plain(pipeline.task.fields, record), judge.certainty(record))


def _by_margin(reference: Reference) -> list[int]:
    """Indices of the held-out images, surest first; only the rightly classified ones where there are any."""
    margins = {index: _margin(answer.scores.tolist()) for index, answer in enumerate(reference.answers)}
    labels = [image.label for image in reference.held_out.images]
    right = [index for index, best in enumerate(reference.top1) if best == labels[index]]
    return sorted(right or margins, key=lambda index: margins[index], reverse=True)


def _of_labels(pipeline: Pipeline, image: HeldOutImage) -> Golden:
    encoded = _as_png(image.encoded)
    two = min(2, len(pipeline.contract.labels))
    best, full = (pipeline.run([encoded], parameters)[0] for parameters in ({"top_k": two}, None))
    if isinstance(best, ImageError) or isinstance(full, ImageError):
        raise SamplesInvalid(f"held-out image {image.name} gives no result as PNG", observed=str(best))
    margin = _margin([float(score) for score in best.record()["scores"]])
    return Golden(image.name, encoded, plain(pipeline.task.fields, full.record()), margin)


def _as_png(encoded: bytes) -> bytes:
    """The bytes themselves where they are a PNG of modest size, else the picture as one."""
    with Image.open(io.BytesIO(encoded)) as opened:
        if opened.format == "PNG" and max(opened.size) <= _LONGEST:
            return encoded
        picture = opened.convert("RGB")
    picture.thumbnail((_LONGEST, _LONGEST))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _margin(scores: list[float]) -> float:
    return scores[0] - scores[1] if len(scores) > 1 else scores[0]
