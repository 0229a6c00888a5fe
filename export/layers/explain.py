"""Where two formats of one model part: exports what is needed, compares layer by layer on real images, and tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.layers.cause import cause, title
from export.layers.compare import THRESHOLDS, Comparison, LayerDifference, compare
from export.layers.graph import read_frame
from export.layers.kernels import kernel_loss
from export.layers.tapping import EAGER, tap_artifact, tap_eager
from slipway.errors import InputFileUnreadable

if TYPE_CHECKING:
    from export.formats.base import Artifact
    from export.layers.taps import Tap
    from export.reproduce.subject import Subject
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

#: Images are run one at a time through every layer: a few show what all would.
IMAGES = 8
#: dB that a layer must lose by itself to be where formats part; less is the drift that rounding leaves in every layer.
SUDDEN_DB = 6.0


@dataclass(frozen=True)
class Explanation:
    """``comparison``: every layer; ``threshold_db``: below it a layer counts as different; ``first``: where they part,
    None when they do not; ``kernels``: what this CPU's integer kernels do to it, None where they compute as written."""

    model: str
    comparison: Comparison
    threshold_db: float
    first: LayerDifference | None
    kernels: str | None = None

    def verdict(self) -> str:
        """One sentence for people."""
        pair = f"{self.comparison.format} and {self.comparison.against}"
        if self.first is None:
            worst = min(self.comparison.layers, key=lambda layer: layer.sqnr_db)
            return (
                f"{pair} do not part: no layer below {self.threshold_db:g} dB; the lowest is {title(worst)} "
                f"with {worst.sqnr_db:.1f} dB"
            )
        what = cause(self.comparison, self.first)
        if self.first.lost_db >= SUDDEN_DB or not math.isfinite(self.first.sqnr_db):
            return f"{pair} part first at {title(self.first)}: {what}"
        worst = self.comparison.costliest()[0]
        return (
            f"{pair} drift apart, a little in every layer, and pass {self.threshold_db:g} dB at {title(self.first)}: "
            f"{what}; most noise is added by {title(worst)}: {worst.sqnr_db:.1f} dB after {worst.input_sqnr_db:.1f} dB"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: model, format, against, images, threshold, first, verdict, kernels, layers, unseen, notes."""
        from export.gates.base import finite

        values: dict[str, Any] = finite(
            {
                "model": self.model,
                "format": self.comparison.format,
                "against": self.comparison.against,
                "images": self.comparison.images,
                "threshold_db": self.threshold_db,
                "first": self.first.to_dict() if self.first else None,
                "verdict": self.verdict(),
                "kernels": self.kernels,
                "layers": [layer.to_dict() for layer in self.comparison.layers],
                "unseen": list(self.comparison.unseen),
                "notes": list(self.comparison.notes),
            }
        )
        return values


def explain_diff(
    spec: ModelSpec,
    settings: Settings,
    format_name: str,
    folder: Path,
    *,
    against: str = "onnx",
    image: Path | None = None,
    version: int | None = None,
    threshold_db: float | None = None,
) -> Explanation:
    """Compares ``format_name`` with ``against`` (a format, or ``eager``) on held-out images, or on one image.

    ``folder``: where both are exported to; with ``version`` the published artefacts are taken where it has them.
    Raises what loading and exporting raise, VersionNotFound, RepositoryDamaged, InputFileUnreadable, ImageError, and
    ExportFailed when a format cannot be opened.
    """
    from export.formats.noise import captured
    from export.formats.registry import find_format
    from export.reproduce.subject import load_subject

    kind = find_format(format_name)
    subject = load_subject(spec, settings)
    with captured(settings.state_dir / "logs" / spec.model / "explain-diff.log"):
        comparison, kernels = _compared(subject, format_name, folder, against, image, version)
    limit = THRESHOLDS[kind.precision] if threshold_db is None else threshold_db
    return Explanation(spec.model, comparison, limit, comparison.first_difference(limit), kernels)


def _compared(
    subject: Subject, format_name: str, folder: Path, against: str, image: Path | None, version: int | None
) -> tuple[Comparison, str | None]:
    """The comparison, and what this CPU's integer kernels do to the format."""
    from export.formats.base import Artifact
    from export.formats.onnx import base_onnx

    options = subject.options(folder)
    frame = read_frame(base_onnx(subject.reference.module, subject.example, options))

    def opened(name: str) -> tuple[Tap, Artifact | None]:
        if name == EAGER:
            return tap_eager(subject.reference.module, frame), None
        if name == "onnx" and version is None:
            artifact = Artifact("onnx", frame.path, 0.0)
        else:
            artifact = _published(subject, name, version) or subject.export(name, folder, options)
        return tap_artifact(artifact, frame), artifact

    reference, _ = opened(against)
    candidate, artifact = opened(format_name)
    pixels = _pixels(subject, image)
    kernels = kernel_loss(artifact.path, frame, pixels) if artifact is not None else None
    return compare(frame, reference, candidate, pixels), kernels


def _published(subject: Subject, name: str, version: int | None) -> Artifact | None:
    """The artefact of a published version; None when no version is asked for, or when it has no such format."""
    if version is None:
        return None
    from export.formats.base import Artifact
    from export.formats.registry import find_format
    from export.reproduce.places import published_file
    from slipway.repository import Repository

    repository, model = Repository(subject.settings.repository), subject.spec.model
    repository.verify(model, version)
    path = published_file(repository.version_dir(model, version), model, name, find_format(name).file_name)
    return None if path is None else Artifact(name, path, 0.0)


def _pixels(subject: Subject, image: Path | None) -> NDArray[np.uint8]:
    from handlers.preprocess import preprocess

    if image is None:
        return subject.reference.pixels[:IMAGES]
    try:
        encoded = image.read_bytes()
    except OSError as problem:
        raise InputFileUnreadable("the image cannot be read", observed=f"{image}: {problem.strerror}") from problem
    return preprocess(encoded, subject.spec.one_input.preprocess())[None]
