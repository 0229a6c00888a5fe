"""The samples by name: what there is, and how to make it. The command line calls this; nothing else is public here."""

from __future__ import annotations

import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from samples.digits import images
from samples.digits.variants import VARIANTS, train
from samples.faces import plan as faces
from samples.groups import plan as groups
from samples.photos.catalogue import write_photos
from samples.photos.plan import ARCHITECTURES, make_photos, make_weights
from samples.recipes import Made, Progress, Recipe, afresh, silent
from samples.scenes import plan as scenes
from samples.scenes.files import SPLITS as SCENES
from samples.scenes.files import write_scenes
from samples.strokes import plan as strokes
from samples.texts import plan as texts
from samples.vectors import plan as vectors
from slipway.errors import SampleUnavailable


class Project(Protocol):
    """What is read of ``slipway.settings.Settings``."""

    @property
    def root(self) -> Path:
        """The project: samples are made in ``var/samples`` below it."""


@dataclass(frozen=True)
class SampleInfo:
    """``models`` are the specifications (config/models) that use the sample; ``splits`` can be written as images.

    ``trainings``: for a model with several trainings, the changes of its specification (``KEY=VALUE``) that make each
    of them, in the order of the versions that they become.
    """

    name: str
    description: str
    models: tuple[str, ...]
    splits: tuple[str, ...]
    trainings: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleReport:
    """What :func:`prepare` made or found in ``folder``. ``parts``: by name, with measured facts and seconds."""

    name: str
    folder: Path
    parts: dict[str, Made]
    seconds: float

    @property
    def reused(self) -> bool:
        """Whether everything was there already."""
        return all(made.reused for made in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: name, folder, seconds, reused, and per part its facts, seconds, CPU seconds and file count."""
        parts = {
            name: {
                **made.facts,
                "files": len(made.files),
                "reused": made.reused,
                "seconds": round(made.seconds, 3),
                "cpu_seconds": round(made.cpu_seconds, 3),
            }
            for name, made in self.parts.items()
        }
        return {
            "name": self.name,
            "folder": str(self.folder),
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
            "parts": parts,
        }


def available() -> list[SampleInfo]:
    """Every sample, with one line about it."""
    return [entry.info for entry in _ENTRIES.values()]


def for_model(model: str) -> SampleInfo | None:
    """The sample that a specification uses; None for a model of the user's own."""
    return next((info for info in available() if model in info.models), None)


def prepare(name: str, settings: Project, progress: Progress = silent) -> SampleReport:
    """Makes a sample's weights and images in ``var/samples/<name>``; what is there already is left alone.

    ``digits``: ``base.safetensors``, ``wide.safetensors``, ``test/<label>_<index>.png|jpg``, and in ``calibration/``
    some of the images that were trained on.
    ``photos``: the photographs in ``images/``, ``resnet18.safetensors``, ``resnet50.safetensors``.
    ``scenes``: ``detector.safetensors``, and with their truth.json ``test/``, ``calibration/`` and ``big/``.
    ``texts``: pictures of text with truth.json in ``test/``, and ``characters.txt``.
    ``faces``: photographs with truth.json in ``test/`` and ``big/``, ``identity.onnx``, ``age.safetensors``, ...
    Raises SampleUnavailable.
    """
    entry = _entry(name)
    folder = settings.root / "var" / "samples" / name
    started = time.perf_counter()
    parts = entry.prepare(folder, progress)
    progress(f"{name} ready", 1.0)
    return SampleReport(name, folder, parts, time.perf_counter() - started)


def write_images(name: str, split: str, out: Path) -> list[Path]:
    """Writes a sample's images of one split into ``out``: digits as ``<label>_<index>.png``, photos by their names.

    Raises SampleUnavailable for an unknown sample or split.
    """
    entry = _entry(name)
    if split not in entry.info.splits:
        raise SampleUnavailable(
            f"the sample {name} has no split {split!r}", expected=f"one of {', '.join(entry.info.splits)}"
        )
    return entry.write(split, out)


@dataclass(frozen=True)
class _Entry:
    info: SampleInfo
    prepare: Callable[[Path, Progress], dict[str, Made]]
    write: Callable[[str, Path], list[Path]]


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise SampleUnavailable(f"there is no sample {name!r}", expected=f"one of {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


def _prepare_digits(folder: Path, progress: Progress) -> dict[str, Made]:
    parts = {split: _write_split(folder, split) for split in ("test", "calibration")}
    for position, variant in enumerate(VARIANTS):
        within = _part(progress, position, len(VARIANTS))
        parts[variant] = train(variant, folder / f"{variant}.safetensors", within).made
    return parts


def _write_split(folder: Path, split: images.Split) -> Made:
    """One folder of digits, PNG and JPEG, with its record beside it."""
    recipe = Recipe({"split": split, "format": "both"}, [Path(images.__file__)], ("numpy", "pillow", "scikit-learn"))
    out = folder / split
    return recipe.make(folder / f"{split}.json", lambda: afresh(out, lambda to: images.write_images(split, to, "both")))


def _prepare_photos(folder: Path, progress: Progress) -> dict[str, Made]:
    steps = len(ARCHITECTURES) + 1
    parts = {"images": make_photos(folder / "images", _part(progress, 0, steps))}
    for position, arch in enumerate(ARCHITECTURES, start=1):
        parts[arch] = make_weights(arch, folder / f"{arch}.safetensors", _part(progress, position, steps))
    return parts


def _prepare_scenes(folder: Path, progress: Progress) -> dict[str, Made]:
    """The detector and every split's folder."""
    parts = {"detector": scenes.train(folder / "detector.safetensors", _part(progress, 0, 2))}
    for position, split in enumerate(SCENES):
        progress(f"drawing {split} scenes", 0.5 + 0.5 * position / len(SCENES))
        parts[split] = scenes.make_scenes(folder / split, split)
    return parts


class _Training(Protocol):
    """How a sample with one network makes its weights."""

    def __call__(self, out: Path, progress: Progress) -> Made:
        """Writes ``out``, once."""


def _one_network(
    name: str, train: _Training, held_out: Callable[[Path], Made], write: Callable[[Path], list[Path]], what: str
) -> _Entry:
    """A sample of one network and its held-out images, which come with their truth.json."""

    def prepare(folder: Path, progress: Progress) -> dict[str, Made]:
        parts = {"network": train(folder / f"{name}.safetensors", _part(progress, 0, 2))}
        progress(f"writing held-out images of {name}", 0.5)
        return {**parts, "test": held_out(folder / "test")}

    return _Entry(SampleInfo(name, what, (name,), ("test",)), prepare, lambda split, out: write(out))


def _prepare_faces(folder: Path, progress: Progress) -> dict[str, Made]:
    """Every split's folder, and the networks that describe a face."""
    steps = len(faces.SPLITS) + len(faces.DESCRIBERS)
    parts = {}
    for position, split in enumerate(faces.SPLITS):
        progress(f"laying faces on {split} photographs", position / steps)
        parts[split] = faces.make_pictures(folder / split, split)
    for position, name in enumerate(faces.DESCRIBERS, start=len(faces.SPLITS)):
        parts[name.partition(".")[0]] = faces.make_describer(folder / name, _part(progress, position, steps))
    return parts


def _prepare_texts(folder: Path, progress: Progress) -> dict[str, Made]:
    progress("drawing lines and pages of text", 0.0)
    return {
        "test": texts.make_pictures(folder / "test"),
        "characters": texts.make_symbols(folder / "characters.txt"),
    }


def _part(progress: Progress, position: int, count: int) -> Progress:
    """A part's own 0..1 as its share of the whole."""
    return lambda text, fraction: progress(text, (position + fraction) / count)


def _write_digits(split: str, out: Path) -> list[Path]:
    chosen = next(known for known in typing.get_args(images.Split) if known == split)
    return images.write_images(chosen, out)


_ENTRIES = {
    "digits": _Entry(
        SampleInfo(
            "digits",
            "handwritten digits from scikit-learn, and two networks trained on them here",
            ("digits",),
            ("test", "train", "calibration"),
            {"digits": ((), ("source.arguments.width=24", "source.checkpoint=var/samples/digits/wide.safetensors"))},
        ),
        _prepare_digits,
        _write_digits,
    ),
    "photos": _Entry(
        SampleInfo(
            "photos",
            "photographs of odd kinds, and ResNets with RANDOM weights (they prove plumbing only)",
            tuple(ARCHITECTURES),
            ("all", "test"),
        ),
        _prepare_photos,
        lambda split, out: write_photos(out),
    ),
    "scenes": _Entry(
        SampleInfo(
            "scenes",
            "handwritten digits on photographs, small and large scenes, and a detector trained on them here",
            ("scenes",),
            tuple(SCENES),
        ),
        _prepare_scenes,
        write_scenes,
    ),
    "faces": _Entry(
        SampleInfo(
            "faces",
            "photographs with 0 to 40 real faces, and networks with RANDOM weights that describe a face",
            ("faces",),
            faces.SPLITS,
        ),
        _prepare_faces,
        faces.write_pictures,
    ),
    "texts": _Entry(
        SampleInfo(
            "texts",
            "lines and pages of text in several fonts, and the alphabet of PP-OCR's recognition network",
            ("ocr",),
            ("test",),
        ),
        _prepare_texts,
        lambda split, out: texts.write_pictures(out),
    ),
    "vectors": _one_network(
        "vectors",
        vectors.train,
        vectors.make_scans,
        vectors.write_scans,
        "handwritten digits as vectors: an embedding network trained here",
    ),
    "strokes": _one_network(
        "strokes",
        strokes.train,
        strokes.make_pictures,
        strokes.write_pictures,
        "which pixels belong to which handwritten digit: a segmentation network trained here",
    ),
    "groups": _one_network(
        "groups",
        groups.train,
        groups.make_pictures,
        groups.write_pictures,
        "which digits are in a picture: a multi-label network trained here",
    ),
}
