"""What a gate sees, what it answers, and the interface that all gates share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from export.images import HeldOut
from handlers.classification import ClassificationResult
from handlers.pipeline import Answer, Pipeline, RunNetwork
from handlers.preprocess import preprocess
from slipway.contract import Contract
from slipway.errors import ImageError, SamplesInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from export.formats.base import Artifact, Precision
    from export.gates.causes.earlier import Earlier
    from export.whole import Whole
    from export.wrap import NormalisedNetwork
    from slipway.spec import GatesSpec

#: In the place of a format, where a gate judges the contract that all formats share.
CONTRACT = "contract"


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict on one format. ``measured`` and ``threshold``: JSON-ready numbers by name; ``reason``: why it
    failed, with the cause where it is known, None when it passed; ``found`` and ``allowed``: the same numbers in a few
    words, for a table."""

    name: str
    format: str
    passed: bool
    measured: dict[str, Any] = field(default_factory=dict)
    threshold: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    found: str = ""
    allowed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: NaN and infinities, which JSON does not have, become strings."""
        values: dict[str, Any] = finite(asdict(self))
        return values


@dataclass(frozen=True)
class Outcome:
    """What a network answers to every held-out image. ``answers``: its two best labels through the whole pipeline, of
    a classifier; ``logits``: float32[n, ...], what the network itself gave for the same images."""

    answers: list[ClassificationResult]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """The trained model as every gate sees it: ``run`` is the eager wrapped ``module`` on the same bytes.

    ``earlier``: networks of published versions, which an export must not be mistaken for. ``trained``: the model as it
    was trained, where optimising steps made ``module`` of it; the task is compared with that one.

    ``inputs``: uint8[n, H, W, 3], of a network that is one of several: what the trained model's pipeline really asked
    it on the held-out images. ``sizes``: further heights and widths that it must take. ``contract`` is then that of
    the network alone.

    ``whole``: of a model whose answers are more than one label, for gate 3."""

    contract: Contract
    gates: GatesSpec
    held_out: HeldOut
    module: NormalisedNetwork
    run: RunNetwork
    earlier: tuple[Earlier, ...] = ()
    trained: RunNetwork | None = None
    inputs: NDArray[np.uint8] | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    whole: Whole | None = None

    @property
    def classes(self) -> int | None:
        """How many labels the network's outputs stand for; None where they are no logits of a classifier."""
        return self.contract.classes

    @property
    def free_sides(self) -> tuple[int, ...]:
        """Axes of ``pixels`` that the network takes in any size: 1 is the height, 2 the width."""
        own = self.contract.inputs()
        height, width = next(iter(own.values()))
        return tuple(axis for axis, side in ((1, height), (2, width)) if not side)

    @property
    def names(self) -> list[str]:
        """Of the images that ``outcome`` is about."""
        if self.classes is None or self.inputs is not None:
            return [f"input {number}" for number in range(len(self.pixels))]
        return [image.name for image in self.held_out.images]

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8[n, H, W, 3]: ``gates.parity.images`` of the held-out images, or of ``inputs``, spread evenly."""
        if self.inputs is not None:
            most = min(len(self.inputs), self.gates.parity.images)
            return np.stack([self.inputs[i] for i in np.linspace(0, len(self.inputs) - 1, most).round().astype(int)])
        images = self.held_out.images
        chosen = np.linspace(0, len(images) - 1, min(len(images), self.gates.parity.images)).round().astype(int)
        return np.stack([self._preprocessed(images[i].name, images[i].encoded) for i in chosen])

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """float32[n, ...] of ``pixels``, one image at a time: the definition, whatever batching adds."""
        return np.concatenate([self.run(self.pixels[i : i + 1]) for i in range(len(self.pixels))])

    @cached_property
    def outcome(self) -> Outcome:
        """The trained model's answer to every held-out image."""
        return self.try_out(self.run)

    @property
    def answers(self) -> list[ClassificationResult]:
        """The trained model's two best labels of every held-out image, through the whole pipeline."""
        return self.outcome.answers

    @cached_property
    def top1(self) -> list[int]:
        """Index of the trained model's best label of every held-out image."""
        return self._best(self.answers)

    @cached_property
    def trained_top1(self) -> list[int]:
        """Index of the best label of every held-out image by the model as it was trained."""
        return self.top1 if self.trained in (None, self.run) else self.predict(self.trained)

    def predict(self, run: RunNetwork) -> list[int]:
        """Index of the best label of every held-out image, through the whole pipeline with ``run`` as network."""
        return self._best(self.answer(run, 1))

    def answer(self, run: RunNetwork, top_k: int) -> list[ClassificationResult]:
        """Results of all held-out images; raises SamplesInvalid for an image that has none."""
        images = self.held_out.images
        answers = Pipeline(self.contract, run).run([image.encoded for image in images], {"top_k": top_k})
        return [_answered(image.name, answer) for image, answer in zip(images, answers, strict=True)]

    def try_out(self, run: RunNetwork) -> Outcome:
        """What ``run`` makes of every held-out image, of another network than a classifier's of ``pixels``; see
        :meth:`Candidate.outcome`, which remembers it."""
        if self.classes is None or self.inputs is not None:
            return Outcome([], in_batches(run, self.pixels, self.contract.network.max_batch_size))
        logits: list[NDArray[np.float32]] = []

        def recorded(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            output = run(pixels)
            logits.append(np.array(output))
            return output

        answers = self.answer(recorded, min(2, len(self.contract.labels)))
        return Outcome(answers, np.concatenate(logits))

    def _best(self, answers: Sequence[ClassificationResult]) -> list[int]:
        index = {label: number for number, label in enumerate(self.contract.labels)}
        return [index[answer.labels[0]] for answer in answers]

    def _preprocessed(self, name: str, encoded: bytes) -> NDArray[np.uint8]:
        try:
            return preprocess(encoded, self.contract.preprocess)
        except ImageError as problem:
            raise SamplesInvalid(f"held-out image {name} cannot be used", observed=str(problem)) from problem


def _answered(name: str, answer: Answer) -> ClassificationResult:
    if isinstance(answer, ImageError):
        raise SamplesInvalid(f"held-out image {name} gives no result", observed=str(answer))
    return cast("ClassificationResult", answer)


@dataclass(frozen=True)
class Candidate:
    """One export to be judged. ``open``: opens its session; raises ExportFailed when the artefact is not loadable.
    ``precision``: which thresholds it is held to. ``artifact``: its files, None for one that has none. ``base``: gives
    the fp32 ONNX file of the same run (export.formats.onnx.base_onnx), which names the layers; None makes one."""

    format: str
    open: Callable[[], RunNetwork]
    precision: Precision = "fp32"
    artifact: Artifact | None = None
    base: Callable[[], Path] | None = None
    _outcomes: list[tuple[Reference, Outcome]] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def run(self) -> RunNetwork:
        """The opened session."""
        return self.open()

    def outcome(self, reference: Reference) -> Outcome:
        """Its answers to every held-out image, computed once for all gates. Raises NetworkFailed."""
        for known, outcome in self._outcomes:
            if known is reference:
                return outcome
        outcome = reference.try_out(self.run)
        self._outcomes.append((reference, outcome))
        return outcome


class Gate(Protocol):
    """One question about an export."""

    name: str

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """Judges one candidate; failing is an answer, not an exception."""


def in_batches(run: RunNetwork, pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Runs ``pixels`` in batches of exactly ``size``; the last is filled up with the first images."""
    rounds = math.ceil(len(pixels) / size)
    order = np.arange(rounds * size) % len(pixels)
    outputs = [run(pixels[order[i * size : (i + 1) * size]]) for i in range(rounds)]
    return np.concatenate(outputs)[: len(pixels)]


def batch_sizes(asked: Iterable[int], largest: int) -> list[int]:
    """Sizes to try, ascending: those asked for that the network takes, and always 1 and the largest."""
    return sorted({1, largest, *(size for size in asked if size <= largest)})


def finite(value: Any) -> Any:
    """The same structure with NaN and infinities as text, tuples as lists and numpy scalars as Python numbers."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
