"""The pictures of text: the same at every call, in many fonts and ways up, and truly what truth.json says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samples.texts import plan
from samples.texts.files import LINES, PAGES, pictures, recogniser, write_symbols
from samples.texts.fonts import NAMES, font
from samples.texts.picture import Look, draw
from slipway.errors import SampleUnavailable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts") / "test"


def test_files_and_truth(folder: Path) -> None:
    made = plan.make_pictures(folder)
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    images = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    assert not made.reused and plan.make_pictures(folder).reused
    assert [path.name for path in images] == sorted(truth) and len(images) == LINES + PAGES == 60
    assert all(len(entry["texts"]) == 1 for name, entry in truth.items() if name.startswith("line"))
    assert all(len(entry["texts"]) >= 4 for name, entry in truth.items() if name.startswith("page"))
    texts = [text for entry in truth.values() for text in entry["texts"]]
    assert len(set(texts)) > 100 and all(text == " ".join(text.split()) and text.isascii() for text in texts)
    assert sum(path.stat().st_size for path in images) < 8_000_000


def test_every_call_draws_the_same_and_they_differ() -> None:
    one, two = list(pictures()), list(pictures())
    for first, second in zip(one, two, strict=True):
        assert first.name == second.name and first.texts == second.texts
        assert np.array_equal(first.pixels, second.pixels)
    assert len({drawn.pixels.tobytes() for drawn in one}) == len(one)


@pytest.mark.parametrize("name", NAMES)
def test_fonts_have_all_letters_and_digits(name: str) -> None:
    """What a font lacks is drawn as one and the same box."""
    chosen, letters = font(name, 40), "abcdefghijABCDEFG0123456789@"
    masks = [chosen.getmask(letter) for letter in letters]
    assert len({bytes(mask) + bytes(mask.size) for mask in masks}) == len(letters)
    assert bytes(chosen.getmask("a")) != bytes(chosen.getmask("\uffff"))


def test_a_look_is_what_it_says() -> None:
    plain = draw([["Measure the light"]], Look("DejaVuSans.ttf", 40), np.random.default_rng(1)).astype(int)
    light = draw([["Measure the light"]], Look("DejaVuSans.ttf", 40, ink=-160), np.random.default_rng(1)).astype(int)
    turned = draw([["Measure the light"]], Look("DejaVuSans.ttf", 40, angle=90), np.random.default_rng(1))
    noisy = draw([["Measure the light"]], Look("DejaVuSans.ttf", 40, noise=10), np.random.default_rng(1)).astype(int)
    assert np.median(plain) - plain.min() > 120 and light.max() - np.median(light) > 120
    assert turned.shape[0] == plain.shape[1] and turned.shape[1] == plain.shape[0]
    assert 5 < (noisy - plain).std() < 11
    assert (plain == plain[0, 0]).all(axis=2).mean() > 0.8, "paper"


def test_the_alphabet_is_that_of_the_network(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    (path,) = write_symbols(tmp_path / "characters.txt")
    symbols = path.read_text(encoding="utf-8").split("\n")[:-1]
    outputs = onnx.load(str(recogniser())).graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    assert len(symbols) == outputs == 18_710
    assert symbols[0] == "" and symbols[-1] == " " and len(set(symbols)) == len(symbols)
    assert set("azAZ09@.-/!?") <= set(symbols)
    theirs = pytest.importorskip("rapidocr.ch_ppocr_rec.utils").CTCLabelDecode(character=list(symbols[1:-1]))
    assert theirs.character[1:] == symbols[1:], "RapidOCR has them in the same order"


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SampleUnavailable, match="text recognition"):
        recogniser()
