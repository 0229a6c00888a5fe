"""Photos: every kind is really of its kind and decodes; benchmark JPEGs have their sizes; random weights are sane."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from handlers.preprocess import preprocess
from samples.photos.catalogue import PHOTOS, write_photos
from samples.photos.jpegs import jpegs
from samples.photos.originals import opened, original
from samples.photos.plan import ARCHITECTURES, MEAN, PREPROCESS, STD
from samples.photos.weights import random_weights
from slipway.errors import SampleUnavailable
from slipway.files import sha256_file
from slipway.spec import ModelSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


def test_every_photo_passes_the_serving_code(folder):
    for photo in PHOTOS:
        pixels = preprocess((folder / photo.name).read_bytes(), PREPROCESS)
        assert pixels.shape == (224, 224, 3), photo.name
        assert pixels.dtype == np.uint8


def test_names_never_look_labelled(folder):
    assert len({photo.name for photo in PHOTOS}) == len(PHOTOS) == len(list(folder.iterdir()))
    assert not [photo.name for photo in PHOTOS if "_" in photo.name]


@pytest.mark.parametrize(
    ("name", "format", "mode"),
    [
        ("grey.jpg", "JPEG", "L"),
        ("cmyk.jpg", "JPEG", "CMYK"),
        ("sixteen-bit.png", "PNG", "I;16"),
        ("palette.png", "PNG", "P"),
        ("palette-transparent.png", "PNG", "P"),
        ("grey-alpha.png", "PNG", "LA"),
        ("cut-out.png", "PNG", "RGBA"),
        ("lossy.webp", "WEBP", "RGB"),
        ("alpha.webp", "WEBP", "RGBA"),
        ("bitmap.bmp", "BMP", "RGB"),
        ("animation.gif", "GIF", "P"),
    ],
)
def test_kinds_are_what_they_say(folder, name, format, mode):
    with Image.open(folder / name) as image:
        assert (image.format, image.mode) == (format, mode)


def test_special_jpegs(folder):
    with Image.open(folder / "progressive.jpg") as image:
        assert image.info["progressive"]
    with Image.open(folder / "large.jpg") as image:
        assert image.size[0] * image.size[1] == pytest.approx(20e6, rel=0.01)
    for name, source in (("exif-90.jpg", "china.jpg"), ("exif-180.jpg", "rocket.jpg")):
        with Image.open(folder / name) as image:
            upright = np.asarray(ImageOps.exif_transpose(image), float)
        wanted = np.asarray(opened(source), float)
        assert upright.shape == wanted.shape
        assert np.abs(upright - wanted).mean() < 6.0, "upright again when a viewer obeys the tag"


def test_missing_original_names_the_packages():
    with pytest.raises(SampleUnavailable, match="scikit-image"):
        original("no-such-photo.png")


def test_benchmark_jpegs_have_their_sizes(tmp_path):
    sizes = (20, 100, 500, 1000)
    paths = jpegs(tmp_path, sizes)
    for path, size in zip(paths, sizes, strict=True):
        assert path.stat().st_size == pytest.approx(size * 1000, rel=0.08), path.name
    assert paths[1].name == "100kb-640x427.jpg"
    with Image.open(io.BytesIO(paths[1].read_bytes())) as image:
        assert image.size == (640, 427)


def test_random_weights_repeat_and_answer_differently(tmp_path):
    first, second, other = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "other"))
    report = random_weights("resnet18", first, seed=3)
    random_weights("resnet18", second, seed=3)
    random_weights("resnet18", other, seed=4)
    assert sha256_file(first) == sha256_file(second) != sha256_file(other)
    assert report.different_answers >= report.photos // 2
    state = load_file(first)
    assert state["fc.weight"].shape == (1000, 512)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_specs_agree_with_the_sample(arch):
    spec = ModelSpec.load(ROOT / "config" / "models" / f"{arch}.yaml")
    contract = spec.contract(ROOT)
    assert spec.source.torchvision == arch
    assert contract.preprocess == PREPROCESS
    assert (contract.normalise.mean, contract.normalise.std) == (MEAN, STD)
    assert len(contract.labels) == 1000
    assert spec.gates.task.accept_unlabelled
