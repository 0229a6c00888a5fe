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
from handlers.pipeline import Pipeline, RunNetwork
from slipway.errors import ImageError, SamplesInvalid

#: Longer side of a golden image at most, pixels: servers answer it again and again.
_LONGEST = 640
#: How many of the surest held-out images are re-encoded and asked again.
_CANDIDATES = 5


@dataclass(frozen=True)
class Golden:
    """``image``: PNG bytes. ``labels``, ``scores``: of the served network through the whole pipeline, best first.
    ``margin``: best score minus the second. ``name``: the held-out image it was made of."""

    name: str
    image: bytes
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    margin: float

    def expected_json(self) -> str:
        """The text of golden/expected.json."""
        return json.dumps({"labels": list(self.labels), "scores": list(self.scores)}, indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """What the evidence says about it."""
        return {"image": self.name, "bytes": len(self.image), "label": self.labels[0], "margin": self.margin}


def choose_golden(reference: Reference, served: RunNetwork | None = None) -> Golden:
    """The held-out image with the largest margin, correctly classified where labels are known.

    ``served``: the network that the version is served with, whose answer is expected of servers: that of INT8 is not
    the trained model's to a hundredth. Without it (a plan, which needs its GPU) the trained model's is."""
    pipeline = Pipeline(reference.contract, served or reference.run)
    surest = [reference.held_out.images[index] for index in _by_margin(reference)[:_CANDIDATES]]
    return max((_golden(pipeline, image) for image in surest), key=lambda golden: golden.margin)


def _by_margin(reference: Reference) -> list[int]:
    """Indices of the held-out images, surest first; only the rightly classified ones where there are any."""
    margins = {index: _margin(answer.scores.tolist()) for index, answer in enumerate(reference.answers)}
    labels = [image.label for image in reference.held_out.images]
    right = [index for index, best in enumerate(reference.top1) if best == labels[index]]
    return sorted(right or margins, key=lambda index: margins[index], reverse=True)


def _golden(pipeline: Pipeline, image: HeldOutImage) -> Golden:
    encoded = _as_png(image.encoded)
    two = min(2, len(pipeline.contract.labels))
    best, full = (pipeline.run([encoded], top_k)[0] for top_k in (two, None))
    if isinstance(best, ImageError) or isinstance(full, ImageError):
        raise SamplesInvalid(f"held-out image {image.name} gives no result as PNG", observed=str(best))
    margin = _margin(best.scores.tolist())
    return Golden(image.name, encoded, full.labels, tuple(float(score) for score in full.scores), margin)


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
