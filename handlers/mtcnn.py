"""Finds faces with three networks, each of which looks at what the one before it has left (Zhang et al., MTCNN,
arXiv 1604.02878), with the steps of facenet-pytorch's detect_face.py (2.6.0).

The networks are parts of the contract: ``pnet`` proposes places on pictures of several sizes, ``rnet`` refines crops of
24x24, ``onet`` decides on crops of 48x48 and finds five landmarks. Each is asked once for all pictures together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.calls import Call, Networks
from handlers.face_candidates import (
    Candidates,
    corrected,
    joined,
    landmarks,
    proposed,
    squared,
    windows,
    without_inner,
)
from handlers.face_pyramid import Scene
from handlers.faces_settings import FacesOptions, FacesSettings
from handlers.stages import stage
from handlers.task import finite

Floats = npt.NDArray[np.float32]
T = TypeVar("T")
#: Names of the parts, and the sides of the inputs of the two that have one.
PNET, RNET, ONET = "pnet", "rnet", "onet"
SIDES = {RNET: 24, ONET: 48}
#: Values per place or crop: a probability and four corrections, and ten coordinates from the last.
_VALUES = {PNET: 5, RNET: 5, ONET: 15}
#: Overlaps above which the lesser of two boxes goes: within one level, among all, and in the end (of the smaller one).
_WITHIN, _AMONG, _INNER = 0.5, 0.7, 0.7
#: A pyramid has about twice the pixels of its first level, so that one of the largest is sent as a whole.
_TOGETHER = 2


@dataclass(frozen=True, eq=False)
class Found:
    """Faces of one picture, best first, in its pixels: ``boxes`` float32[n, 4] (they may reach beyond the picture),
    ``scores`` float32[n], ``landmarks`` float32[n, 5, 2]."""

    boxes: Floats
    scores: Floats
    landmarks: Floats


@dataclass(frozen=True)
class _Level:
    """One picture at one scale. ``row``: the picture's."""

    row: int
    scale: float
    size: tuple[int, int]


class Mtcnn:
    """The three stages; holds no state between pictures."""

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings

    def find(self, images: Sequence[Image.Image], options: Sequence[FacesOptions], networks: Networks) -> list[Found]:
        """One entry per picture (mode RGB), in order. Raises NetworkFailed."""
        if not images:
            return []
        with stage("pyramid"):
            scenes = [Scene.of(image, self._settings.picture_pixels) for image in images]
        proposals = self._proposals(scenes, options, networks)
        refined = self._refined(scenes, proposals, networks)
        return self._decided(scenes, refined, options, networks)

    def _proposals(self, scenes: Sequence[Scene], options: Sequence[FacesOptions], networks: Networks) -> list[Floats]:
        """float32[n, 4] per picture: squares."""
        levels = [
            _Level(row, scale, scene.size_at(scale))
            for row, scene in enumerate(scenes)
            for scale in scene.scales(options[row].min_face_size, self._settings)
        ]
        found: list[list[Candidates]] = [[] for _ in scenes]
        for group in _groups(levels, _TOGETHER * self._settings.pyramid_pixels):
            for level, output in zip(group, self._proposal_outputs(scenes, group, networks), strict=True):
                with stage("nms"):
                    found[level.row].append(self._of_level(output, level.scale))
        with stage("nms"):
            return [self._proposed(joined(parts)) for parts in found]

    def _proposal_outputs(self, scenes: Sequence[Scene], levels: Sequence[_Level], networks: Networks) -> list[Floats]:
        """float32[5, h, w] per level; levels of one size travel as one batch."""
        batches = _of_one_size(levels, self._settings.pyramid_pixels)
        with stage("pyramid"):
            calls = [
                Call(PNET, np.stack([scenes[levels[index].row].level(levels[index].size) for index in batch]))
                for batch in batches
            ]
        outputs: dict[int, Floats] = {}
        for batch, output in zip(batches, _run(calls, networks), strict=True):
            outputs.update(zip(batch, output, strict=True))
        return [outputs[index] for index in range(len(levels))]

    def _of_level(self, output: Floats, scale: float) -> Candidates:
        most = self._settings.candidates
        return proposed(output, scale, self._settings.proposal_threshold, most).suppressed(_WITHIN, most)

    def _proposed(self, candidates: Candidates) -> Floats:
        best = candidates.suppressed(_AMONG, self._settings.candidates)
        return squared(corrected(best.boxes, best.corrections, 0))

    def _refined(self, scenes: Sequence[Scene], proposals: Sequence[Floats], networks: Networks) -> list[Floats]:
        def keep(boxes: Floats, output: Floats, row: int) -> Floats:
            good = output[:, 0] > self._settings.refine_threshold
            found = Candidates(boxes, output[:, 0], output[:, 1:]).take(good)
            best = found.suppressed(_AMONG, self._settings.candidates)
            return squared(corrected(best.boxes, best.corrections, 1))

        return _looked_at(RNET, scenes, proposals, networks, keep)

    def _decided(
        self,
        scenes: Sequence[Scene],
        refined: Sequence[Floats],
        options: Sequence[FacesOptions],
        networks: Networks,
    ) -> list[Found]:
        def decide(boxes: Floats, output: Floats, row: int) -> Found:
            good = output[:, 0] > options[row].score_threshold
            boxes, output = boxes[good], output[good]
            places, found = landmarks(boxes, output[:, 5:]), corrected(boxes, output[:, 1:5], 1)
            kept = without_inner(found, output[:, 0], _INNER)[: options[row].max_faces]
            size = np.float32(scenes[row].reduced)
            return Found(found[kept] * size, output[kept, 0], places[kept] * size)

        return _looked_at(ONET, scenes, refined, networks, decide)


def _looked_at(
    network: str,
    scenes: Sequence[Scene],
    boxes: Sequence[Floats],
    networks: Networks,
    conclude: Callable[[Floats, Floats, int], T],
) -> list[T]:
    """What ``conclude`` makes of each picture's boxes and the network's rows about their crops; its third argument is
    the picture's row. Boxes beside their picture are left out. All pictures' crops are one call."""
    with stage("crop"):
        seen = [_seen(own, scene) for own, scene in zip(boxes, scenes, strict=True)]
        crops = [scene.sums.crops(parts, SIDES[network]) for scene, (_, parts) in zip(scenes, seen, strict=True)]
        pixels = np.concatenate(crops)
    output = _run([Call(network, pixels)], networks)[0] if len(pixels) else np.zeros((0, _VALUES[network]), np.float32)
    ends = np.cumsum([0, *(len(parts) for _, parts in seen)])
    with stage("nms"):
        return [conclude(own, output[ends[row] : ends[row + 1]], row) for row, (own, _) in enumerate(seen)]


def _seen(boxes: Floats, scene: Scene) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Boxes that share pixels with the picture, and these pixels."""
    parts = windows(boxes, scene.sums.size)
    there = (parts[:, :2] < parts[:, 2:]).all(axis=1)
    return boxes[there], parts[there]


def _run(calls: Sequence[Call], networks: Networks) -> list[Floats]:
    """Checked outputs. Raises NetworkFailed."""
    with stage("network"):
        outputs = networks.run(calls)
    return [_checked(call, output) for call, output in zip(calls, outputs, strict=True)]


def _checked(call: Call, output: Floats) -> Floats:
    images, values = len(call.pixels), _VALUES[call.network]
    fits = output.shape[:2] == (images, values) and output.ndim == (4 if call.network == PNET else 2)
    places = ", h, w" if call.network == PNET else ""
    return finite(output, f"float[{images}, {values}{places}] from {call.network}", fits)


def _of_one_size(levels: Sequence[_Level], most: int) -> list[list[int]]:
    """Positions of the levels that make one batch: of one size, together no more than ``most`` pixels."""
    batches: dict[tuple[tuple[int, int], int], list[int]] = {}
    counts: dict[tuple[int, int], int] = {}
    for index, level in enumerate(levels):
        counts[level.size] = counts.get(level.size, -1) + 1
        number = counts[level.size] // max(1, most // (level.size[0] * level.size[1]))
        batches.setdefault((level.size, number), []).append(index)
    return list(batches.values())


def _groups(levels: Sequence[_Level], most: int) -> Iterator[list[_Level]]:
    """In order, together as long as they have no more than ``most`` pixels: small pictures travel together, and memory
    does not grow with the request."""
    group: list[_Level] = []
    pixels = 0
    for level in levels:
        own = level.size[0] * level.size[1]
        if group and pixels + own > most:
            yield group
            group, pixels = [], 0
        group.append(level)
        pixels += own
    if group:
        yield group
