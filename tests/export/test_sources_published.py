"""Published torchvision weights: the enum's names, and the digits of the sha256 that a file's name carries."""

import hashlib

import pytest

from export.sources import published
from export.sources.torchvision_builder import torchvision_weights
from slipway.errors import DownloadFailed, SourceInvalid
from slipway.files import sha256_file
from slipway.spec import SourceSpec
from tests.export.weights_server import serving


@pytest.mark.parametrize(
    ("asked", "name", "file"),
    [
        ("IMAGENET1K_V1", "IMAGENET1K_V1", "resnet50-0676ba61.pth"),
        ("ResNet50_Weights.IMAGENET1K_V2", "IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("DEFAULT", "IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
    ],
)
def test_names_of_weights(asked, name, file):
    assert torchvision_weights("resnet50", asked) == (name, f"https://download.pytorch.org/models/{file}")


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("resnet50", "IMAGENET1K_V3", "one of IMAGENET1K_V1, IMAGENET1K_V2"),
        ("resnet50", "ResNet18_Weights.IMAGENET1K_V1", "no weights 'ResNet18_Weights"),
        ("resnet05", "DEFAULT", "a name such as resnet"),
        ("shufflenet_v2_x1_5", "__doc__", "one of IMAGENET1K_V1"),
    ],
)
def test_names_that_are_wrong(model, asked, words):
    with pytest.raises(SourceInvalid, match=words):
        torchvision_weights(model, asked)


def test_digits_of_the_sha256_in_the_name_are_checked(tmp_path, monkeypatch):
    folder = tmp_path / "www"
    folder.mkdir()
    content = bytes(range(256)) * 4000
    digest = hashlib.sha256(content).hexdigest()
    good, bad = f"resnet18-{digest[:8]}.pth", "resnet18-01234567.pth"
    for name in (good, bad):
        (folder / name).write_bytes(content)
    source = SourceSpec(torchvision="resnet18", weights="IMAGENET1K_V1")
    with serving(folder) as server:
        # torchvision's own server cannot be reached from a test: its address alone is replaced
        for name in (good, bad):
            monkeypatch.setattr(published, "torchvision_weights", lambda *_, name=name: ("V1", f"{server.url}/{name}"))
            if name == good:
                located = published.published_weights(source, tmp_path / "cache")
                assert (sha256_file(located.path), located.shown) == (digest, "V1")
                continue
            with pytest.raises(DownloadFailed, match=f"not the declared file.*{digest}.*01234567"):
                published.published_weights(source, tmp_path / "cache")
    kept = [path.name for path in (tmp_path / "cache").iterdir() if path.suffix == ".pth"]
    assert len(kept) == 1 and kept[0].endswith(good), "the wrong file is not kept"
