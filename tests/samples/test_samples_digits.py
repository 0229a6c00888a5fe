"""Digits: a fixed stratified split, files that people can read, a training that repeats to the byte and is good."""

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from handlers import preprocess
from samples.digits import images, training
from samples.digits.augmentation import augment
from samples.digits.network import build
from samples.digits.variants import PIXEL_MODULES, VARIANTS, train
from slipway.errors import SampleUnavailable
from slipway.files import sha256_file
from slipway.spec import ModelSpec

ROOT = Path(__file__).parents[2]


def test_splits_are_disjoint_whole_and_stratified():
    held_out, trained_on = images.indices("test"), images.indices("train")
    assert len(held_out) == 901
    assert sorted(held_out + trained_on) == list(range(1797))
    shares = {digit: count / 1797 for digit, count in Counter(map(images.label, range(1797))).items()}
    for digit, count in Counter(map(images.label, held_out)).items():
        assert abs(count / 901 - shares[digit]) < 0.003


def test_calibration_images_are_trained_on_and_of_every_digit():
    calibration = images.indices("calibration")
    assert len(set(calibration)) == 64
    assert set(calibration) <= set(images.indices("train"))
    assert set(map(images.label, calibration)) == set(range(10))


def test_files_are_named_by_label_and_readable(tmp_path):
    paths = images.write_images("test", tmp_path, "both")
    assert {path.suffix for path in paths} == {".png", ".jpg"}
    assert len({path.name for path in paths}) == 901
    for path in paths[:20]:
        label, index = path.stem.split("_")
        assert int(label) == images.label(int(index))
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert image.format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
            pixels = np.asarray(image)
        assert pixels[:, 0].mean() > 200 > 100 > pixels.min(), "dark ink on white paper"


def test_default_format_is_png(tmp_path):
    assert {path.suffix for path in images.write_images("test", tmp_path)} == {".png"}


def test_jpeg_and_png_show_the_same_digit():
    png, jpg = (np.asarray(Image.open(io.BytesIO(images.encoded(7, kind)[0])), float) for kind in ("png", "jpg"))
    assert np.abs(png - jpg).mean() < 2.0


def test_network_shapes():
    module = build(width=8).eval()
    assert module(torch.zeros(3, 3, 32, 32)).shape == (3, 10)


def test_augmentation_of_nothing_is_identity():
    batch = torch.rand(4, 3, 32, 32)
    assert torch.allclose(augment(batch, 0.0, 0.0, 0.0), batch, atol=1e-5)


def test_training_twice_gives_identical_bytes(tmp_path):
    torch.manual_seed(5)
    before = torch.get_num_threads(), torch.get_rng_state()
    first = train("base", tmp_path / "first.safetensors", epochs=1)
    torch.rand(100)  # whatever ran before must not matter
    torch.set_rng_state(before[1])
    second = train("base", tmp_path / "second.safetensors", epochs=1)
    assert sha256_file(first.weights) == sha256_file(second.weights)
    assert not second.made.reused
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_is_spared_when_it_is_there(tmp_path):
    told: list[float] = []
    first = train("wide", tmp_path / "w.safetensors", lambda text, done: told.append(done), epochs=1)
    again = train("wide", tmp_path / "w.safetensors", epochs=1)
    assert again.made.reused
    assert again.accuracy == first.accuracy
    assert told[-1] == 1.0
    assert not train("wide", tmp_path / "w.safetensors", epochs=2).made.reused


def test_unknown_variant_is_refused(tmp_path):
    with pytest.raises(SampleUnavailable, match="base or wide"):
        train("huge", tmp_path / "w.safetensors")


def test_short_training_learns_and_reported_accuracy_is_that_of_the_file(tmp_path):
    report = train("base", tmp_path / "w.safetensors", epochs=3)
    module = build(VARIANTS["base"].width)
    module.load_state_dict(load_file(report.weights))
    right, total = training.evaluate(module.eval())
    assert (right / total, total) == (report.accuracy, report.held_out)
    assert report.accuracy > 0.9


@pytest.mark.parametrize("variant", VARIANTS)
def test_full_training_reaches_98_percent(variant):
    path = ROOT / "var" / "samples" / "digits" / f"{variant}.safetensors"
    report = train(variant, path)  # seconds of the first run only: the project's own files are used and left
    assert report.accuracy >= 0.98


def test_spec_agrees_with_training():
    spec = ModelSpec.load(ROOT / "config" / "models" / "digits.yaml")
    contract = spec.contract(ROOT)
    assert contract.preprocess == images.PREPROCESS
    assert contract.labels == images.LABELS
    assert (set(contract.normalise.mean), set(contract.normalise.std)) == ({training.MEAN}, {training.STD})
    assert contract.normalise.scale == 255.0
    assert spec.source.arguments == {"width": VARIANTS["base"].width}


def test_recipe_names_all_code_that_makes_pixels():
    code = "import sys, handlers.preprocess; print(*(m for m in sys.modules if m.startswith('handlers.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == sorted(f"handlers.{name}" for name in PIXEL_MODULES)
    assert Path(str(preprocess.__file__)).stem == "preprocess"
