"""Compares two taps layer by layer on real pixels, and names the first layer where they part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.layers.graph import Frame, Layer
from export.layers.taps import Grid, Rounding, Tap
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    from export.formats.base import Precision

#: dB of signal over noise that a layer must keep, by precision: sound exports of trained networks stay above it in
#: every layer (digits: fp32 over 125, fp16 over 60, INT8 over 30); 18 layers of random weights in INT8 end at 11.
THRESHOLDS: dict[Precision, float] = {"fp32": 90.0, "fp16": 45.0, "bf16": 25.0, "int8": 15.0}
#: dB beyond which a ratio says no more than "equal", and which JSON can hold.
EXACT_DB = 200.0
#: Fused ops that are named one by one.
_SHOWN_OPS = 5


@dataclass(frozen=True)
class LayerDifference:
    """One layer in both formats, over all images.

    ``sqnr_db``: 10 log10(signal power / noise power) of its output, at most 200, -inf when it is not finite;
    ``input_sqnr_db``: the worst among its inputs; ``max_relative``: largest difference over largest value;
    ``largest``: largest absolute value in the reference; ``rounding_sqnr_db``: what rounding this tensor alone would
    leave, None when it is not rounded; ``channel_sqnr_db``: the same for the median channel, much lower where a few
    channels take the whole range; ``clipped``: which part of the values lies outside of the tensor's range;
    ``fused``: names of the layers before it that the format shows only through it; ``op`` and ``module`` name them too;
    ``inputs``: tensors of the nearest layers before it that are compared.
    """

    name: str
    op: str
    module: str
    tensor: str
    sqnr_db: float
    input_sqnr_db: float
    max_relative: float
    largest: float
    rounding_sqnr_db: float | None = None
    channel_sqnr_db: float | None = None
    clipped: float | None = None
    fused: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node that it stands for."""
        return (*self.fused, self.name)

    @property
    def lost_db(self) -> float:
        """What this layer itself costs: its worst input's ratio less its own."""
        return self.input_sqnr_db - self.sqnr_db if math.isfinite(self.input_sqnr_db) else 0.0

    @property
    def added_noise(self) -> float:
        """Noise over signal power that this layer adds to what comes in; infinite where it is the first to break."""
        if not math.isfinite(self.sqnr_db):
            return math.inf if math.isfinite(self.input_sqnr_db) else 0.0
        if not math.isfinite(self.input_sqnr_db):
            return 0.0
        return max(_power(self.sqnr_db) - _power(self.input_sqnr_db), 0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, but for infinities (export.gates.base.finite)."""
        return {**asdict(self), "lost_db": self.lost_db}


@dataclass(frozen=True)
class Comparison:
    """``layers``: those that both formats have, in the order in which they run; ``unseen``: names of those that one of
    them fused away or cannot show; ``notes``: what the taps say about that."""

    format: str
    against: str
    images: int
    layers: tuple[LayerDifference, ...]
    unseen: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def first_difference(self, threshold_db: float) -> LayerDifference | None:
        """The first layer where they part: below the threshold while everything it reads is above; None if none."""
        below = [layer for layer in self.layers if layer.sqnr_db < threshold_db]
        return next((layer for layer in below if layer.input_sqnr_db >= threshold_db), below[0] if below else None)

    def layer(self, tensor: str) -> LayerDifference:
        """The row of a tensor that is compared."""
        return next(item for item in self.layers if item.tensor == tensor)

    def costliest(self) -> list[LayerDifference]:
        """The layers that add noise, worst first."""
        return sorted((item for item in self.layers if item.added_noise > 0), key=lambda item: -item.added_noise)


def compare(frame: Frame, against: Tap, tap: Tap, pixels: NDArray[np.uint8]) -> Comparison:
    """Runs ``pixels`` (uint8[N, H, W, 3]) one image at a time, so that memory holds one image's values only.

    Raises ExportFailed when the two have no tensor in common.
    """
    sums: dict[str, _Sum] = {}
    for image in pixels:
        reference, found = against.run(image[None]), tap.run(image[None])
        for layer in frame.layers:
            name = layer.tensor
            if name in reference and name in found and reference[name].size == found[name].size:
                sums.setdefault(name, _Sum()).add(reference[name], found[name], tap.rounding.get(name))
    if not sums:
        raise ExportFailed(
            f"{tap.format} and {against.format} share no layer and no output",
            observed=f"{len(frame.layers)} layers in {frame.path.name}",
        )
    unseen = tuple(layer.name for layer in frame.layers if layer.tensor not in sums)
    notes = tuple(item.note for item in (against, tap) if item.note)
    return Comparison(tap.format, against.format, len(pixels), tuple(_rows(frame, sums)), unseen, notes)


def _rows(frame: Frame, sums: Mapping[str, _Sum]) -> Iterator[LayerDifference]:
    ratios: dict[str, float] = {}
    nearest: dict[str, tuple[str, ...]] = {}  # tensor -> the compared tensors that it is, or that it is made of
    for layer in frame.layers:
        inputs = tuple(dict.fromkeys(tensor for name in layer.inputs for tensor in nearest[name]))
        nearest[layer.tensor] = inputs
        if layer.tensor in sums:
            incoming = min((ratios[name] for name in inputs), default=EXACT_DB)
            row = sums[layer.tensor].row(layer, incoming, _fused(frame, layer, sums), inputs)
            ratios[layer.tensor] = row.sqnr_db
            nearest[layer.tensor] = (layer.tensor,)
            yield row


def _fused(frame: Frame, layer: Layer, seen: Mapping[str, _Sum]) -> list[Layer]:
    """The layers right before ``layer``, first one first, that show nowhere but in it."""
    found: list[Layer] = []
    while len(layer.inputs) == 1 and layer.inputs[0] not in seen and len(frame.readers[layer.inputs[0]]) == 1:
        layer = frame.by_tensor[layer.inputs[0]]
        found.insert(0, layer)
    return found


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise), between -200 and 200; -inf for a noise that is not finite."""
    if not math.isfinite(noise):
        return -math.inf
    if noise <= 0.0:
        return EXACT_DB
    if signal <= 0.0:
        return -EXACT_DB
    return float(np.clip(10.0 * math.log10(signal / noise), -EXACT_DB, EXACT_DB))


def _power(decibel: float) -> float:
    return float(10.0 ** (-decibel / 10.0))


@dataclass
class _Sum:
    """Running sums of one tensor over the images."""

    signal: float = 0.0
    noise: float = 0.0
    worst: float = 0.0
    largest: float = 0.0
    rounding: float | None = None
    channels: list[float] = field(default_factory=list)
    clipped: float | None = None
    images: int = 0

    def add(self, reference: NDArray[np.float32], found: NDArray[np.float32], rounding: Rounding | None) -> None:
        wanted = reference.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = found.reshape(reference.shape).astype(np.float64) - wanted
            self.noise += float(np.sum(difference**2)) if np.isfinite(difference).all() else math.inf
            self.worst = max(self.worst, float(np.nan_to_num(np.max(np.abs(difference)), nan=math.inf)))
        self.signal += float(np.sum(wanted**2))
        self.largest = max(self.largest, float(np.max(np.abs(wanted))))
        self.images += 1
        if rounding is not None:
            self._add_rounding(reference, rounding)

    def _add_rounding(self, reference: NDArray[np.float32], rounding: Rounding) -> None:
        rounded = rounding(reference)
        with np.errstate(invalid="ignore", over="ignore"):
            noise = (rounded.astype(np.float64) - reference) ** 2
        self.rounding = (self.rounding or 0.0) + (float(np.sum(noise)) if np.isfinite(noise).all() else math.inf)
        self.channels += _channel_ratios(reference, noise)
        if isinstance(rounding, Grid):
            self.clipped = (self.clipped or 0.0) + rounding.clipped(reference)

    def row(self, layer: Layer, incoming: float, fused: Sequence[Layer], inputs: tuple[str, ...]) -> LayerDifference:
        whole = [*fused, layer]
        return LayerDifference(
            layer.name,
            _joined([item.op for item in whole]),
            next((item.module for item in reversed(whole) if not item.passing), layer.module),
            layer.tensor,
            sqnr_db(self.signal, self.noise),
            incoming,
            self.worst / self.largest if self.largest > 0 else float(self.worst > 0),
            self.largest,
            None if self.rounding is None else sqnr_db(self.signal, self.rounding),
            float(np.median(self.channels)) if self.channels else None,
            None if self.clipped is None else self.clipped / self.images,
            tuple(item.name for item in fused),
            inputs,
        )


def _joined(ops: Sequence[str]) -> str:
    return "+".join(ops) if len(ops) <= _SHOWN_OPS else f"{ops[0]}+...+{ops[-1]} ({len(ops)} nodes)"


def _channel_ratios(reference: NDArray[np.float32], noise: NDArray[np.float64]) -> list[float]:
    """dB of every channel that is not silent: axis 1 of an image's features, the last of anything else."""
    if reference.ndim < 3:
        return []
    axes = (0, 2, 3) if reference.ndim == 4 else tuple(range(reference.ndim - 1))
    signal, lost = np.sum(reference.astype(np.float64) ** 2, axis=axes), np.sum(noise, axis=axes)
    return [sqnr_db(float(s), float(n)) for s, n in zip(signal, lost, strict=True) if s > 0]
