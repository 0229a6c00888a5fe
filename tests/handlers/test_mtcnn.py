"""The three stages against facenet-pytorch's own detect on the same photographs, and their arithmetic in pieces."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from handlers import face_candidates
from handlers.boxes import overlaps
from handlers.face_candidates import Candidates
from handlers.face_pyramid import Scene
from handlers.faces_settings import FacesOptions, FacesSettings
from handlers.mtcnn import Found, Mtcnn
from samples.faces.files import FORTY
from samples.faces.scene import Plan, draw
from samples.photos.originals import opened
from slipway.errors import NetworkFailed
from tests.handlers.faces_model import Counting, contract

#: What rounding a pixel to 8 bits changes: facenet-pytorch's pyramids are float32, a served network takes uint8. Where
#: candidates of equal score lie side by side, another one may win.
MOST_PIXELS = 6.0
OPTIONS = FacesOptions(0.7, 100, 20)


@pytest.fixture(scope="module")
def original(torchvision: ModuleType) -> Any:
    assert torchvision is not None  # its operators have to be there first
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True)


@pytest.fixture(scope="module")
def functions(torchvision: ModuleType) -> Any:
    assert torchvision is not None
    from facenet_pytorch.models.utils import detect_face

    return detect_face


def found_in(*images: Image.Image, options: FacesOptions = OPTIONS, **settings: Any) -> list[Found]:
    detector = Mtcnn(FacesSettings(**settings))
    return detector.find(images, [options] * len(images), Counting(contract()))


def scene(people: int, seed: int) -> Image.Image:
    return draw(Plan((480, 320), people, 1), np.random.default_rng(seed)).picture


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "scene 3", "scene 5", "forty"])
def test_the_faces_of_facenet_pytorch(original: Any, name: str) -> None:
    if name == "forty":
        picture = draw(FORTY, np.random.default_rng(5)).picture
    else:
        picture = scene(int(name[-1]), 7) if name.startswith("scene") else opened(name)
    boxes, scores, landmarks = (np.asarray(part, np.float64) for part in original.detect(picture, landmarks=True))
    (found,) = found_in(picture)
    pairs = overlaps(found.boxes, boxes)
    sure = scores > 0.9
    assert (pairs.max(axis=0) > 0.6)[sure].all(), "one that the original is sure of is missing"
    assert (pairs.max(axis=1) > 0.6)[found.scores > 0.9].all(), "one that the original does not see at all"
    assert abs(len(found.boxes) - len(boxes)) <= 1 + len(boxes) // 20
    match = pairs.argmax(axis=1)
    same = pairs.max(axis=1) > 0.6
    assert np.abs(found.boxes - boxes[match])[same].max() < MOST_PIXELS
    assert np.abs(found.landmarks - landmarks[match])[same].max() < MOST_PIXELS
    assert np.median(np.abs(found.boxes - boxes[match])[same]) < 1.0
    assert np.median(np.abs(found.scores - scores[match])[same]) < 0.01


@pytest.mark.parametrize("name", ["china.jpg", "coffee.png", "chelsea.png", "grass.png"])
def test_no_face_where_facenet_pytorch_sees_none(original: Any, name: str) -> None:
    assert original.detect(opened(name))[0] is None
    (found,) = found_in(opened(name))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.landmarks.shape == (0, 5, 2)


def test_with_its_own_pictures_the_numbers_are_its_own(original: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding is all that differs: where facenet-pytorch rounds its levels and crops as well, both agree."""
    from facenet_pytorch.models.utils import detect_face

    exact = detect_face.imresample
    monkeypatch.setattr(detect_face, "imresample", lambda pixels, size: torch.floor(exact(pixels, size) + 0.5))
    for picture in (opened("astronaut.png"), scene(4, 3)):
        boxes, scores, landmarks = (np.asarray(part, np.float64) for part in original.detect(picture, landmarks=True))
        (found,) = found_in(picture)
        match = overlaps(found.boxes, boxes).argmax(axis=1)
        assert sorted(match) == list(range(len(boxes)))
        assert np.abs(found.boxes - boxes[match]).max() < 0.01
        assert np.abs(found.landmarks - landmarks[match]).max() < 0.01
        assert np.abs(found.scores - scores[match]).max() < 1e-4


def test_pictures_together_are_pictures_alone() -> None:
    pictures = [opened("astronaut.png"), scene(3, 1), opened("china.jpg"), scene(5, 2), Image.new("RGB", (9, 9))]
    for together, (alone,) in zip(found_in(*pictures), (found_in(picture) for picture in pictures), strict=True):
        assert np.allclose(together.boxes, alone.boxes, atol=0.01)
        assert np.allclose(together.scores, alone.scores, atol=1e-5)
        assert np.allclose(together.landmarks, alone.landmarks, atol=0.01)


def test_the_same_twice_to_the_bit() -> None:
    first, second = (found_in(scene(4, 9))[0] for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes) and np.array_equal(first.landmarks, second.landmarks)


def test_every_network_is_asked_once_for_all_pictures() -> None:
    networks = Counting(contract())
    pictures = [scene(3, 1), scene(5, 2), opened("astronaut.png")]
    Mtcnn(FacesSettings()).find(pictures, [OPTIONS] * 3, networks)
    pnet, rnet, onet = networks.lists
    assert {name for name, _ in pnet} == {"pnet"} and len(pnet) == len({shape[1:] for _, shape in pnet})
    assert max(shape[0] for _, shape in pnet) == 2, "two pictures of one size are one batch"
    assert [name for name, _ in rnet] == ["rnet"] and rnet[0][1][1:] == (24, 24, 3)
    assert [name for name, _ in onet] == ["onet"] and onet[0][1][1:] == (48, 48, 3)
    assert rnet[0][1][0] > onet[0][1][0] >= 10


def test_memory_is_bounded_by_splitting_levels() -> None:
    networks = Counting(contract())
    detector = Mtcnn(FacesSettings(pyramid_pixels=30_000))
    detector.find([scene(3, 1)] * 5, [OPTIONS] * 5, networks)
    asked = [shapes for shapes in networks.lists if shapes[0][0] == "pnet"]
    assert all(shape[0] * shape[1] * shape[2] <= 30_600 for shapes in asked for _, shape in shapes)
    assert all(sum(s[0] * s[1] * s[2] for _, s in shapes) <= 61_200 for shapes in asked) and len(asked) > 3


def test_more_candidates_than_allowed_are_the_best() -> None:
    picture = opened("gravel.png")  # texture: hundreds of places that look a little like faces
    networks = Counting(contract())
    Mtcnn(FacesSettings(candidates=20)).find([picture], [OPTIONS], networks)
    asked = {name: shape[0] for shapes in networks.lists for name, shape in shapes}
    assert asked["rnet"] == 20
    (found,) = found_in(opened("astronaut.png"), candidates=20)
    assert len(found.boxes) == 1


def test_the_smallest_faces_can_be_left_out() -> None:
    picture = draw(Plan((480, 320), 4, sides=(40, 60)), np.random.default_rng(4)).picture
    picture.paste(opened("astronaut.png").crop((110, 0, 340, 230)), (0, 0))
    assert len(found_in(picture, options=FacesOptions(0.7, 100, 90))[0].boxes) == 1
    assert len(found_in(picture, options=FacesOptions(0.7, 100, 20))[0].boxes) >= 4


def test_the_best_faces_come_first_and_no_more_than_asked_for() -> None:
    picture = scene(5, 2)
    (found,), (three,) = found_in(picture), found_in(picture, options=FacesOptions(0.7, 3, 20))
    assert (np.diff(found.scores) <= 0).all() and len(found.scores) == 6
    assert np.array_equal(three.boxes, found.boxes[:3])


@pytest.mark.parametrize("size", [(1, 1), (12, 11), (19, 400), (12, 12), (3000, 14)])
def test_pictures_too_small_for_a_face(size: tuple[int, int]) -> None:
    assert len(found_in(Image.new("RGB", size, "pink"))[0].boxes) == 0


def test_a_network_that_answers_otherwise_is_named() -> None:
    networks = Counting(contract())
    good = networks._runs["rnet"]
    networks._runs["rnet"] = lambda pixels: good(pixels)[:, :4]
    with pytest.raises(NetworkFailed, match="does not fit") as caught:
        Mtcnn(FacesSettings()).find([opened("astronaut.png")], [OPTIONS], networks)
    assert "rnet" in str(caught.value.expected)
    networks._runs["rnet"] = lambda pixels: good(pixels) * np.nan
    with pytest.raises(NetworkFailed, match="NaN"):
        Mtcnn(FacesSettings()).find([opened("astronaut.png")], [OPTIONS], networks)


def test_scales_are_those_of_facenet_pytorch() -> None:
    scene_ = Scene.of(opened("astronaut.png"), 6_000_000)
    scales = scene_.scales(20, FacesSettings())
    assert scales[0] == 0.6 and len(scales) == 10 and scales[-1] * 512 >= 12 > scales[-1] * 0.709 * 512
    assert scene_.size_at(0.6) == (308, 308)
    assert scene_.scales(12, FacesSettings())[0] == 1.0
    assert scene_.scales(20, FacesSettings(pyramid_pixels=65_536))[0] == 0.5


def test_large_pictures_are_reduced_by_a_whole_number() -> None:
    large = Scene.of(Image.new("RGB", (5472, 3648)), 6_000_000)
    assert large.reduced == 2 and large.sums.size == (2736, 1824)
    first = large.scales(40, FacesSettings())[0]
    assert first == pytest.approx(0.6, abs=0.04), "a face of 40 pixels has 20 after the reduction"
    assert np.prod(large.size_at(first)) < 2_010_000


def random_boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    corners = random.uniform(-20, 200, (count, 2))
    return np.concatenate([corners, corners + random.uniform(5, 80, (count, 2))], axis=1).astype(np.float32)


def test_places_become_boxes_as_in_facenet_pytorch(functions: Any) -> None:
    output = np.random.default_rng(0).random((5, 17, 23)).astype(np.float32)
    probabilities, regressions = torch.from_numpy(output[None, 0]), torch.from_numpy(output[None, 1:])
    wanted, _ = functions.generateBoundingBox(regressions, probabilities, 0.6 * 0.709, 0.6)
    found = face_candidates.proposed(output, 0.6 * 0.709, 0.6, 1000)
    assert np.array_equal(np.column_stack([found.boxes, found.scores, found.corrections]), wanted.numpy())


def test_corrections_and_squares_as_in_facenet_pytorch(functions: Any) -> None:
    boxes = random_boxes(50, 1)
    corrections = np.random.default_rng(2).normal(0, 0.1, (50, 4)).astype(np.float32)
    wanted = functions.bbreg(torch.from_numpy(boxes.copy()), torch.from_numpy(corrections)).numpy()
    assert np.allclose(face_candidates.corrected(boxes, corrections, 1), wanted, atol=1e-4)
    assert np.allclose(face_candidates.squared(boxes), functions.rerec(torch.from_numpy(boxes.copy())), atol=1e-4)


def test_windows_as_in_facenet_pytorch(functions: Any) -> None:
    boxes = random_boxes(200, 3)
    y, ey, x, ex = functions.pad(torch.from_numpy(boxes), 180, 170)
    assert np.array_equal(face_candidates.windows(boxes, (180, 170)), np.column_stack([x - 1, y - 1, ex, ey]))


def test_inner_boxes_go_as_in_facenet_pytorch(functions: Any) -> None:
    boxes, scores = random_boxes(120, 5), np.random.default_rng(6).random(120).astype(np.float32)
    wanted = functions.nms_numpy(boxes, scores, 0.7, "Min")
    kept = face_candidates.without_inner(boxes, scores, 0.7)
    assert np.array_equal(kept, wanted) and 1 < len(kept) < 120


def test_among_too_many_places_the_best_are_looked_at() -> None:
    output = np.random.default_rng(0).random((5, 40, 40)).astype(np.float32)
    every, few = (face_candidates.proposed(output, 1.0, 0.5, most) for most in (1000, 10))
    assert len(few.scores) == 40 and few.scores.min() >= np.sort(every.scores)[-40]


def test_nothing_joined_is_nothing() -> None:
    nothing = face_candidates.joined([])
    assert isinstance(nothing, Candidates) and nothing.boxes.shape == (0, 4)
    assert face_candidates.squared(nothing.boxes).shape == (0, 4)
