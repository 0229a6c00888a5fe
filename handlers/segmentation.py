"""Segmentation: raw outputs of a network -> one class per pixel of the original picture, as PNG or run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.fields import Field, Record
from handlers.label_map import Labels, label_map
from handlers.masks import png, rle
from handlers.parameters import choice, number
from handlers.preprocess import Prepared
from handlers.stages import stage
from handlers.task import SingleNetwork, finite
from slipway.contract import Contract
from slipway.errors import ContractInvalid

ENCODINGS = ("png", "rle")
#: What a mask says of pixels outside the network's crop where no class is the background: Cityscapes' "void".
VOID = 255
_MOST_CLASSES = 254


@dataclass(frozen=True)
class SegmentationSettings:
    """``background``: the label of what the network has not seen, empty where there is none. ``threshold``: of the one
    map of a network for two labels, a probability."""

    background: str = ""
    threshold: float = 0.5

    @classmethod
    def of(cls, contract: Contract) -> SegmentationSettings:
        """From the contract's settings. Raises ContractInvalid for unknown keys and values."""
        try:
            settings = cls(**contract.settings)
        except TypeError as problem:
            raise ContractInvalid(f"{contract.model}: settings of the segmentation: {problem}") from problem
        checks = [
            (len(contract.labels) <= _MOST_CLASSES, "labels", len(contract.labels), f"at most {_MOST_CLASSES}"),
            (
                settings.background in ("", *contract.labels),
                "settings.background",
                settings.background,
                "one of the labels, or empty",
            ),
            (0.001 <= settings.threshold <= 0.999, "settings.threshold", settings.threshold, "0.001..0.999"),
        ]
        for good, key, observed, expected in checks:
            if not good:
                raise ContractInvalid(f"{contract.model}: {key} is not valid", observed=observed, expected=expected)
        return settings


@dataclass(frozen=True)
class SegmentationOptions:
    """Of one request. ``threshold`` is a probability, for networks with one map."""

    encoding: str
    threshold: float


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """``map``: uint8[H, W], the number of the label of every pixel of the upright picture, VOID where there is none.
    ``mask``: the same as PNG, or ``rle`` as run lengths, the other one empty. ``classes``: labels that occur, the
    largest first; ``values``: their numbers in the map; ``shares``: float32, of the picture's pixels."""

    map: Labels
    mask: bytes
    rle: str
    classes: tuple[str, ...]
    values: npt.NDArray[np.int32]
    shares: npt.NDArray[np.float32]

    def record(self) -> Record:
        """As handlers.task.Result."""
        height, width = self.map.shape
        mask = {"mask": self.mask, "rle": self.rle, "size": np.array([width, height], np.int32)}
        return {**mask, "classes": self.classes, "values": self.values, "shares": self.shares}


class Segmentation(SingleNetwork):
    """The task handler that a contract names as ``handlers.segmentation:Segmentation``.

    The network answers with one map per label, logits; or with one map for two labels, the logit of the second.
    """

    fields = (
        Field("mask", "bytes"),
        Field("rle", "string"),
        Field("size", "int32", (2,)),
        Field("classes", "string", each=True),
        Field("values", "int32", each=True),
        Field("shares", "float32", each=True),
    )

    def __init__(self, contract: Contract) -> None:
        """Raises ContractInvalid for settings that there are not."""
        super().__init__(contract)
        self._settings = SegmentationSettings.of(contract)
        self._labels = contract.labels
        background = self._settings.background
        self._outside = self._labels.index(background) if background else VOID
        self._inputs = (contract.preprocess.width, contract.preprocess.height)

    def options(self, parameters: Mapping[str, Any]) -> SegmentationOptions:
        """``encoding``: ``png``, the default, or ``rle``; ``score_threshold``: of networks with one map, 0.001..0.999.
        Raises RequestInvalid."""
        threshold = number(parameters, "score_threshold", self._settings.threshold, 0.001, 0.999)
        return SegmentationOptions(choice(parameters, "encoding", ENCODINGS[0], ENCODINGS), threshold)

    def width(self, options: SegmentationOptions) -> int:
        """As handlers.task.Task: every label may occur."""
        return len(self._labels)

    def results(
        self,
        outputs: npt.NDArray[np.float32],
        prepared: Sequence[Prepared],
        options: Sequence[SegmentationOptions],
    ) -> list[SegmentationResult]:
        """``outputs``: float[N, K, h, w], logits; K labels, or 1 map for two labels. Raises NetworkFailed."""
        count = len(self._labels)
        fits = outputs.ndim == 4 and len(outputs) == len(prepared) and min(outputs.shape[2:]) > 0
        fits = fits and (outputs.shape[1] == count or (outputs.shape[1], count) == (1, 2))
        expected = f"float[{len(prepared)}, {'1 or 2' if count == 2 else count}, h, w], one map per label"
        logits = finite(outputs, expected, fits)
        return [self._result(*row) for row in zip(logits, prepared, options, strict=True)]

    def _result(
        self, maps: npt.NDArray[np.float32], prepared: Prepared, options: SegmentationOptions
    ) -> SegmentationResult:
        if len(maps) < len(self._labels):  # the second label wins where sigmoid(logit) > threshold
            maps = np.stack([np.full_like(maps[0], np.log(options.threshold / (1 - options.threshold))), maps[0]])
        with stage("label map"):
            labels = label_map(maps, prepared.placement, prepared.size, self._inputs, self._outside)
        with stage("mask"):
            as_png = options.encoding == "png"
            mask, runs = (png(labels), "") if as_png else (b"", rle(labels, self._labels))
        counts = np.bincount(labels.ravel(), minlength=len(self._labels))[: len(self._labels)]
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        shares = (counts[order] / labels.size).astype(np.float32)
        classes = tuple(self._labels[index] for index in order)
        return SegmentationResult(labels, mask, runs, classes, order.astype(np.int32), shares)
