"""Gate 1, ``executes``: the artefact is the one that was exported, opens, and runs: batches of 1, 2 and the largest,
encoded images of different sizes, twice with the same answer.

A contract has one size of network input, so image sizes are tried where they vary: before the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.formats.base import root_cause
from export.gates.base import Candidate, GateResult, Reference, batch_sizes
from export.gates.causes.baked import explain_baked
from export.gates.causes.damaged import contradiction, explain_unreadable, recorded_facts
from export.gates.image_sizes import SizedImage, images_of_sizes
from handlers.pipeline import Pipeline, RunNetwork
from slipway.errors import ImageError, SlipwayError

#: The same batch twice may differ by this part of its scale: threads that add in another order stay below 1e-5.
REPEATABLE = 1e-3
#: Another size than the exported one may differ by this part of its scale from the trained network: INT8 stays below.
DIFFERENT_SIZE = 0.25


class Executes:
    """See the module's text."""

    name = "executes"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """Runs held-out images (repeated where a batch needs more) and compares shape and dtype."""
        sizes = batch_sizes(reference.gates.executes.batch_sizes, reference.contract.network.max_batch_size)
        alone = reference.inputs is not None  # its images are made by the pipeline that it is a part of
        images = [] if alone else images_of_sizes(reference, reference.gates.executes.image_sizes)
        threshold = {
            "batch_sizes": sizes,
            "image_sizes": len(images),
            "output": list(reference.logits.shape[1:]),
            "dtype": "float32",
            "repeat_difference": REPEATABLE,
        }
        measured: dict[str, Any] = {"worked": [], "image_sizes": []}
        reason = _judge(reference, candidate, sizes, images, measured)
        found = _found(measured)
        allowed = f"batches {_list(sizes)}; {len(images) or 1 + len(reference.sizes)} image sizes"
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, allowed)


def _judge(
    reference: Reference, candidate: Candidate, sizes: list[int], images: list[SizedImage], measured: dict[str, Any]
) -> str | None:
    if candidate.artifact is not None:
        facts = recorded_facts(candidate.artifact)
        measured.update(facts)
        if (different := contradiction(candidate.artifact, facts)) is not None:
            return different
    try:
        session = candidate.run
    except SlipwayError as problem:
        cause = explain_unreadable(candidate.artifact) if candidate.artifact is not None else None
        return f"it cannot be opened: {problem}" + (f": {cause}" if cause else "")
    return (
        _batches(reference, candidate, session, sizes, measured)
        or _repeats(reference, session, measured)
        or _sizes(reference, session, measured)
        or _images(reference, session, images, measured)
    )


def _batches(
    reference: Reference, candidate: Candidate, session: RunNetwork, sizes: list[int], measured: dict[str, Any]
) -> str | None:
    row = reference.logits.shape[1:]
    tried = {size: _problem(session, _batch(reference, size), row) for size in sizes}
    problems = {size: text for size, text in tried.items() if text}
    worked = measured["worked"] = [size for size in sizes if size not in problems]
    if not problems:
        return None
    details = "; ".join(f"batch {size}: {text}" for size, text in problems.items())
    if not worked:
        return f"no batch size runs ({details})"
    reason = f"the batch size is baked in: {worked} work, {sorted(problems)} do not ({details})"
    cause = explain_baked(reference, candidate, worked)
    return f"{reason}: {cause}" if cause else reason


def _problem(session: RunNetwork, batch: NDArray[np.uint8], row: tuple[int, ...]) -> str | None:
    try:
        output = session(batch)
    except Exception as problem:  # each runtime has its own; the text is the finding
        return root_cause(problem)
    expected = [len(batch), *row]
    if list(output.shape) != expected or output.dtype != np.float32:
        return f"returns {output.dtype}{list(output.shape)}, not float32{expected}"
    return None


def _sizes(reference: Reference, session: RunNetwork, measured: dict[str, Any]) -> str | None:
    """A network that takes any size: real inputs, resized, must give what the trained network gives."""
    for height, width in reference.sizes:
        resized = [Image.fromarray(item).resize((width, height)) for item in reference.pixels[:2]]
        batch = np.stack([np.asarray(item) for item in resized])
        wanted = reference.run(batch)
        if (problem := _problem(session, batch, wanted.shape[1:])) is not None:
            return f"an input of {height}x{width} does not run: {problem}"
        scale = float(np.max(np.abs(wanted))) or 1.0
        apart = float(np.max(np.abs(session(batch) - wanted))) / scale
        if not apart <= DIFFERENT_SIZE:
            return (
                f"an input of {height}x{width} gives other outputs, by {apart:.3g} of their scale: a size is baked in"
            )
        measured["image_sizes"].append(f"{width}x{height}")
    return None


def _repeats(reference: Reference, session: RunNetwork, measured: dict[str, Any]) -> str | None:
    """Dropout that was left on, and every other source of chance, shows when the same batch runs again."""
    batch = _batch(reference, min(2, reference.contract.network.max_batch_size))
    first, second = np.array(session(batch)), np.array(session(batch))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None  # the next gate says so, and why
    scale = float(np.max(np.abs(first)))
    difference = float(np.max(np.abs(first - second))) / scale if scale else 0.0
    measured["repeat_difference"] = difference
    if difference <= REPEATABLE:
        return None
    return (
        f"the same batch gives other logits the second time, by {difference:.3g} of their scale: something random is "
        "left in it (train mode left on, with dropout active?)"
    )


def _images(
    reference: Reference, session: RunNetwork, images: list[SizedImage], measured: dict[str, Any]
) -> str | None:
    if not images:
        return None
    try:
        answers = Pipeline(reference.contract, session).run([image.encoded for image in images])
    except SlipwayError as problem:
        if not np.isfinite(session(reference.pixels[:1])).all():
            return None  # as above
        return f"images of {_list(str(image) for image in images)} pixels do not run: {problem}"
    for image, answer in zip(images, answers, strict=True):
        if isinstance(answer, ImageError):
            return f"an image of {image} pixels gives no result: {answer}"
        measured["image_sizes"].append(str(image))
    return None


def _batch(reference: Reference, size: int) -> NDArray[np.uint8]:
    return np.resize(reference.pixels, (size, *reference.pixels.shape[1:]))


def _found(measured: dict[str, Any]) -> str:
    if not measured["worked"]:
        return "nothing runs"
    images = f"; images {', '.join(measured['image_sizes'])}" if measured["image_sizes"] else ""
    return f"batches {_list(measured['worked'])}{images}"


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)
