"""Held-out images: labels from names, clear words for what is wrong with a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.images import load_held_out
from slipway.errors import SamplesInvalid

LABELS = ("cat", "golden_retriever")


def _folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_labels_come_from_the_names(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "cat_0.png", "golden_retriever_12.JPG", "notes.txt")
    held_out = load_held_out(folder, LABELS)
    assert [(image.name, image.label) for image in held_out.images] == [
        ("cat_0.png", 0),
        ("golden_retriever_12.JPG", 1),
    ]
    assert held_out.labelled
    assert held_out.images[0].encoded == b"cat_0.png"


def test_names_without_an_index_are_unlabelled(tmp_path: Path) -> None:
    assert not load_held_out(_folder(tmp_path, "coffee.png", "page.png"), LABELS).labelled


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match="observed dog; expected one of 2 labels: cat, golden_retriever"):
        load_held_out(_folder(tmp_path, "cat_0.png", "dog_1.png"), LABELS)


def test_a_mixture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match=r"1 of 2 without a label, for example coffee\.png"):
        load_held_out(_folder(tmp_path, "cat_0.png", "coffee.png"), LABELS)


def test_numbered_photographs_may_be_unlabelled_by_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "motorcycle_2.png", "coffee.png")
    assert not load_held_out(folder, LABELS, accept_unlabelled=True).labelled
    with pytest.raises(SamplesInvalid, match="motorcycle"):
        load_held_out(folder, LABELS)


@pytest.mark.parametrize("folder", ["", "absent"])
def test_an_empty_or_missing_directory(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SamplesInvalid, match=r"empty|missing"):
        load_held_out(tmp_path / folder, LABELS)


def test_the_digest_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "cat_0.png")
    first = load_held_out(folder, LABELS).digest
    assert load_held_out(folder, LABELS).digest == first
    (folder / "cat_0.png").write_bytes(b"other")
    assert load_held_out(folder, LABELS).digest != first
