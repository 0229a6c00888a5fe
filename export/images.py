"""The held-out images that judge an export: real files, with their label in the name when they have one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.errors import SamplesInvalid

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
#: Says what is true of each image where its name cannot: boxes, texts, masks, several labels.
TRUTH = "truth.json"
_LABELLED = re.compile(r"(?P<label>.+)_\d+")


@dataclass(frozen=True)
class HeldOutImage:
    """One encoded image. ``label``: the index of its label in the contract, None when it has none."""

    name: str
    encoded: bytes
    label: int | None


@dataclass(frozen=True)
class HeldOut:
    """All held-out images of a model, by name. ``digest``: sha256 (hex) over names and bytes, and over the truth.
    ``truth``: what truth.json says of them, by name; masks are the bytes of their files."""

    images: tuple[HeldOutImage, ...]
    digest: str
    truth: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether truth.json says something of every image."""
        return all(image.name in self.truth for image in self.images)

    @property
    def truths(self) -> list[Mapping[str, Any]]:
        """What truth.json says, image by image."""
        return [self.truth[image.name] for image in self.images]

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return all(image.label is not None for image in self.images)


def load_held_out(directory: Path, labels: Sequence[str], *, accept_unlabelled: bool = False) -> HeldOut:
    """Reads every image of a directory. ``<label>_<index>.<png|jpg|...>`` is labelled.

    Raises SamplesInvalid for a missing or empty directory, for labels that the model does not have, and for a
    mixture of labelled and other names. With ``accept_unlabelled``, names of which none has a known label count as
    unlabelled (``motorcycle_2.png`` beside ``coffee.png``). Where there is a ``truth.json``, or ``labels`` are none,
    names mean nothing: the file says what is true of each image.
    """
    files = image_files(directory)
    if (directory / TRUTH).is_file() or not labels:
        return _with_truth(directory, files)
    index = {label: number for number, label in enumerate(labels)}
    found = {path: _LABELLED.fullmatch(path.stem) for path in files}
    names = {path: match["label"] for path, match in found.items() if match}
    known = {path: index[label] for path, label in names.items() if label in index}
    if not names or (accept_unlabelled and not known):
        known = {}
    else:
        _check_labels(directory, files, names, index)
    images = tuple(HeldOutImage(path.name, path.read_bytes(), known.get(path)) for path in files)
    return HeldOut(images, _digest(images))


def _with_truth(directory: Path, files: Sequence[Path]) -> HeldOut:
    images = tuple(HeldOutImage(path.name, path.read_bytes(), None) for path in files)
    truth = _read_truth(directory, {image.name for image in images})
    digest = hashlib.sha256(_digest(images).encode())
    digest.update(json.dumps(truth, sort_keys=True, default=lambda value: value.hex()).encode())
    return HeldOut(images, digest.hexdigest(), truth)


def _read_truth(directory: Path, names: set[str]) -> dict[str, dict[str, Any]]:
    path = directory / TRUTH
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        truth = {str(name): dict(entry) for name, entry in values.items()}
        for entry in truth.values():
            if "mask" in entry:
                entry["mask"] = (directory / str(entry["mask"])).read_bytes()
    except (OSError, ValueError, TypeError, AttributeError) as problem:
        raise SamplesInvalid(
            f"{path} cannot be read", observed=problem, expected='{"<image>": {"boxes": [...], ...}, ...}'
        ) from problem
    if strange := sorted(truth.keys() - names):
        raise SamplesInvalid(f"{path} names images that are not there", observed=", ".join(strange[:5]))
    return truth


def image_files(directory: Path, what: str = "held-out") -> list[Path]:
    """Image files of a directory by name; raises SamplesInvalid when there are none. ``what``: for errors."""
    if not directory.is_dir():
        unseen = " that the model was not trained on" if what == "held-out" else ""
        raise SamplesInvalid(
            f"the directory of {what} images is missing",
            observed=directory,
            expected=f"a directory of real images{unseen}",
            fix="make it (`slipway samples` for the sample models), or correct the specification",
        )
    files = sorted(item for item in directory.iterdir() if item.suffix.lower() in SUFFIXES and item.is_file())
    if not files:
        raise SamplesInvalid(
            f"the directory of {what} images is empty", observed=directory, expected=f"files {', '.join(SUFFIXES)}"
        )
    return files


def _check_labels(directory: Path, files: list[Path], names: dict[Path, str], index: dict[str, int]) -> None:
    unknown = sorted({label for label in names.values() if label not in index})
    if unknown:
        raise SamplesInvalid(
            f"{directory} has labels that the model does not know",
            observed=", ".join(unknown[:10]),
            expected=f"one of {len(index)} labels: {', '.join(list(index)[:10])}{' ...' if len(index) > 10 else ''}",
            fix="rename the files to <label>_<index>, or correct labels in the specification",
        )
    odd = [path.name for path in files if path not in names]
    if odd:
        raise SamplesInvalid(
            f"{directory} mixes labelled and unlabelled images",
            observed=f"{len(odd)} of {len(files)} without a label, for example {odd[0]}",
            expected="every name <label>_<index>, or none",
        )


def _digest(images: Sequence[HeldOutImage]) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.name}\0{len(image.encoded)}\0".encode())
        digest.update(image.encoded)
    return digest.hexdigest()
