"""The faces sample: networks that are the originals to the bit, pictures of which the truth is known, and random
networks that tell faces apart."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from export.sources.checkpoint import read_checkpoint
from export.sources.location import locate
from export.sources.state import load_state
from export.sources.torchvision_shim import import_torchvision
from samples.faces import inception_resnet, networks, plan
from samples.faces.describers import SIDE, build, write_random
from samples.faces.files import SPLITS
from samples.faces.portraits import PORTRAITS, portrait
from samples.faces.scene import Plan, draw
from slipway.errors import SourceInvalid
from slipway.spec import ModelSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def originals() -> ModuleType:
    import_torchvision()
    import facenet_pytorch.models.mtcnn

    return facenet_pytorch.models.mtcnn


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return ModelSpec.load(ROOT / "config" / "models" / "faces.yaml")


@pytest.mark.parametrize(
    ("name", "original", "size"), [("pnet", "PNet", (37, 52)), ("rnet", "RNet", (24, 24)), ("onet", "ONet", (48, 48))]
)
def test_mtcnn_is_the_original(
    originals: ModuleType, spec: ModelSpec, tmp_path: Path, name: str, original: str, size: tuple[int, int]
) -> None:
    source = spec.sources[name]
    module = getattr(networks, name)()
    load_state(module, read_checkpoint(locate(str(source.checkpoint), ROOT, tmp_path).path), name)
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        boxes, *landmarks, probabilities = getattr(originals, original)()(images)
        found = module.eval()(images)
    assert torch.equal(found, torch.cat([probabilities[:, 1:], boxes, *landmarks], dim=1))


def test_published_embedders_load(originals: ModuleType) -> None:
    """Names, shapes and arithmetic of facenet-pytorch's InceptionResnetV1, whose checkpoints have 8631 identities."""
    from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1

    torch.manual_seed(0)
    original = InceptionResnetV1(classify=True, num_classes=inception_resnet.VGGFACE2_CLASSES).eval()
    module = inception_resnet.build().eval()
    assert list(module.state_dict()) == list(original.state_dict())
    load_state(module, original.state_dict(), "20180402-114759-vggface2.pt")
    original.classify = False
    faces = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        vectors = module(faces)
        assert torch.equal(torch.nn.functional.normalize(vectors), original(faces))
    assert vectors.shape == (2, 512)
    with pytest.raises(SourceInvalid, match="shapes differ"):
        load_state(inception_resnet.build(classes=10575), original.state_dict(), "casia")


def test_random_describers_tell_faces_apart_and_are_the_same_every_time(tmp_path: Path) -> None:
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors", tmp_path / "other.safetensors"]
    for file, seed in zip(files, (4, 4, 5), strict=True):
        write_random(6, seed, file)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    module = build(6)
    load_state(module, read_checkpoint(files[0]), "one")
    pixels = np.stack([np.asarray(portrait(number).resize((SIDE, SIDE))) for number in range(PORTRAITS)])
    with torch.inference_mode():
        logits = module.eval()((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 127.5)
    assert len(set(logits.argmax(dim=1).tolist())) == 6
    assert 1 < float(logits.std()) < 4


def test_the_random_embedder_is_an_arcface_style_file(tmp_path: Path) -> None:
    import onnxruntime

    write_random(plan.IDENTITY, 512, tmp_path / "identity.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "identity.onnx"), providers=["CPUExecutionProvider"])
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    assert inputs.type == "tensor(float)" and inputs.shape[1:] == [3, 112, 112]
    assert outputs.shape[1] == 512
    (vectors,) = session.run(None, {inputs.name: np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype("f4")})
    assert vectors.shape == (3, 512)
    assert [path.name for path in tmp_path.iterdir()] == ["identity.onnx"]


def test_the_specification_fits_the_sample(spec: ModelSpec) -> None:
    contract = spec.contract(ROOT)
    labels = {item.name: item.contract.labels for item in contract.attributes}
    assert labels == {"identity": (), "age": plan.AGES, "gender": plan.GENDERS, "emotion": plan.EMOTIONS}
    for name, (outputs, _) in plan.DESCRIBERS.items():
        short = name.partition(".")[0]
        assert len(labels[short] or range(plan.IDENTITY)) == outputs
        assert str(spec.sources[f"attributes/{short}"].location).endswith(f"var/samples/faces/{name}")
        own = next(item.contract for item in contract.attributes if item.name == short)
        assert (own.preprocess.height, own.preprocess.width) == (SIDE, SIDE)
        assert (own.normalise.scale, own.normalise.mean) == (127.5, (1.0, 1.0, 1.0))
    assert {name for name, part in contract.inputs().items() if part == (0, 0)} == {"pnet"}


def test_pictures_with_their_truth(tmp_path: Path) -> None:
    paths = plan.write_pictures("test", tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert sorted(truth) == sorted(path.name for path in paths if path.suffix != ".json")
    counts = {name: len(entry["boxes"]) for name, entry in truth.items()}
    assert {1, 3, 40, 0} <= set(counts.values()) and counts["forty.jpg"] == 40
    assert {count for name, count in counts.items() if name.startswith("none")} == {0}
    for name, entry in truth.items():
        with Image.open(tmp_path / name) as stored:
            width, height = ImageOps.exif_transpose(stored).size
        boxes = np.array(entry["boxes"]).reshape(-1, 4)
        assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
    again = plan.write_pictures("test", tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_pictures_are_stored_turned_and_are_upright_again(tmp_path: Path) -> None:
    plan.write_pictures("test", tmp_path)
    upright = np.asarray(Image.open(tmp_path / "three-exif-1.jpg")).astype(int)
    stored = set()
    for orientation in range(1, 9):
        with Image.open(tmp_path / f"three-exif-{orientation}.jpg") as image:
            stored.add(np.asarray(image).tobytes())
            turned = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert np.abs(turned - upright).mean() < 3, orientation
    assert len(stored) == 8


def test_large_pictures_have_20_megapixels() -> None:
    sizes = [drawn.picture.size for _, drawn, _ in SPLITS["big"]()]
    assert sizes == [(5472, 3648)] * 2


def test_faces_do_not_touch_and_too_many_are_refused() -> None:
    boxes = draw(Plan((640, 480), 20, 2), np.random.default_rng(0)).boxes
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    sides = np.clip(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - low, 0, None)
    assert (np.prod(sides, axis=2)[~np.eye(22, dtype=bool)] == 0).all()
    with pytest.raises(ValueError, match="no room"):
        draw(Plan((120, 100), 9), np.random.default_rng(0))
