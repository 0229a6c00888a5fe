"""The worst disagreements: the most distant stay, with their images, bounded, whatever becomes of the originals."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from handlers.recording.images import image_name
from routing.compare import Kept, Worst, worst

NUMBERS = {"label": "7", "score": 0.9, "top": [["7", 0.9]]}


OTHER = {"label": "1", "score": 0.8, "top": [["1", 0.8]]}


def kept(name: str, distance: float, index: int = 0, version: int = 2, time: float = 0.0) -> Kept:
    return Kept(name, index, version, "classification", time, distance, NUMBERS, OTHER)


def recorded(state: Path, name: str, content: bytes, index: int = 0) -> Path:
    folder = state / "predictions" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / image_name(name, index)
    path.write_bytes(content)
    return path


def files(state: Path, experiment: str = "digits-1") -> set[str]:
    return {path.name for path in (state / "routing" / "worst" / experiment).iterdir()}


def test_the_most_distant_stay_in_whatever_order_they_come(tmp_path: Path) -> None:
    found = [kept(f"r{number}", number / 50) for number in range(50)]
    random.Random(3).shuffle(found)
    for item in found:
        recorded(tmp_path, item.request_id, item.request_id.encode())
    for start in range(0, 50, 7):
        Worst(tmp_path, "digits-1", most=5).add(found[start : start + 7])
    entries = Worst(tmp_path, "digits-1").entries()
    assert [item.request_id for item in entries] == ["r49", "r48", "r47", "r46", "r45"]
    assert [item.image.read_bytes() for item in entries if item.image] == [b"r49", b"r48", b"r47", b"r46", b"r45"]
    assert (entries[0].left, entries[0].right) == (NUMBERS, OTHER)
    assert files(tmp_path) == {"worst.json"} | {image_name(f"r{number}", 0) for number in range(45, 50)}


def test_images_outlive_the_originals_and_may_be_missing(tmp_path: Path) -> None:
    made = Worst(tmp_path, "digits-1")
    original = recorded(tmp_path, "a", b"photo")
    made.add([kept("a", 0.9), kept("without", 0.8)])
    original.unlink()
    made.add([kept("c", 0.7)])
    assert [(item.request_id, item.image and item.image.read_bytes()) for item in made.entries()] == [
        ("a", b"photo"),
        ("without", None),
        ("c", None),
    ]


def test_one_disagreement_is_kept_once_and_the_first_of_equals_stays(tmp_path: Path) -> None:
    made = Worst(tmp_path, "digits-1", most=2)
    made.add([kept("a", 1.0), kept("a", 1.0, index=1)])
    made.add([kept("a", 1.0), kept("b", 1.0), kept("nan", float("nan"))])
    assert [(item.request_id, item.index) for item in made.entries()] == [("a", 0), ("a", 1)]


def test_bytes_of_images_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worst, "MOST_BYTES", 250)
    for name in "abc":
        recorded(tmp_path, name, b"x" * 100)
    made = Worst(tmp_path, "digits-1")
    made.add([kept("b", 0.8), kept("c", 0.7)])
    made.add([kept("a", 0.9)])
    assert [item.image is not None for item in made.entries()] == [True, True, False]


def test_damaged_notes_are_begun_anew(tmp_path: Path) -> None:
    made = Worst(tmp_path, "digits-1")
    assert made.entries() == []
    made.add([kept("a", 0.5)])
    path = tmp_path / "routing" / "worst" / "digits-1" / "worst.json"
    for text in ("{", "[1]", '[{"other": 1}]', "{}"):
        path.write_text(text)
        assert made.entries() == []
    made.add([kept("b", 0.5)])
    assert [item.request_id for item in made.entries()] == ["b"]


@pytest.mark.parametrize("name", ["../../etc", "..", "a/b", "/abs", ""])
def test_names_of_experiments_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    Worst(tmp_path / "state", name).add([kept("a", 0.5)])
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert len(list((tmp_path / "state" / "routing" / "worst").glob("*/worst.json"))) == 1


def test_each_version_has_its_own_worst_and_one_image_of_both(tmp_path: Path) -> None:
    recorded(tmp_path, "a", b"photo")
    made = Worst(tmp_path, "digits-1", most=2)
    made.add([kept("a", 0.1), kept("b", 0.2), *(kept(name, 0.9, version=3) for name in "abc")])
    assert sorted((item.version, item.request_id) for item in made.entries()) == [
        (2, "a"), (2, "b"), (3, "a"), (3, "b"),
    ]  # fmt: skip
    assert files(tmp_path) == {"worst.json", image_name("a", 0)}


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    made = Worst(tmp_path, "digits-1", most=1)
    made.add([kept("a", 0.9)])
    path = tmp_path / "routing" / "worst" / "digits-1" / "worst.json"
    before = path.stat().st_ino
    made.add([kept("b", 0.5)])
    made.add([])
    assert path.stat().st_ino == before


def test_what_is_old_goes_with_its_images(tmp_path: Path) -> None:
    worst.forget(tmp_path, 100.0)
    for name in ("old", "new"):
        recorded(tmp_path, name, name.encode())
    Worst(tmp_path, "over").add([kept("old", 0.5, time=50.0)])
    Worst(tmp_path, "digits-1").add([kept("old", 0.9, time=50.0), kept("new", 0.5, time=150.0)])
    worst.forget(tmp_path, 100.0)
    assert [path.name for path in (tmp_path / "routing" / "worst").iterdir()] == ["digits-1"]
    assert files(tmp_path) == {"worst.json", image_name("new", 0)}
    assert [item.request_id for item in Worst(tmp_path, "digits-1").entries()] == ["new"]
