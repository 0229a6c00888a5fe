"""Faces turned upright: against scikit-image's Umeyama, OpenCV's warp and facenet-pytorch's crops."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from handlers.alignment import TEMPLATE, Similarity, aligned, boxed, to_template
from samples.photos.originals import opened

#: Of the astronaut, as facenet-pytorch finds them.
LANDMARKS = np.array([(205.0, 101.7), (246.8, 103.7), (224.7, 129.0), (201.7, 139.2), (245.3, 141.9)])
BOX = np.array([181.1, 62.2, 267.7, 172.1])


def turned(points: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    return points @ matrix.T + (30, -12)


@pytest.mark.parametrize("degrees", [0, 17, 90, 180, -135])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.5])
def test_umeyama_as_scikit_image_has_it(degrees: float, scale: float) -> None:
    source = turned(LANDMARKS, degrees, scale)
    wanted = SimilarityTransform.from_estimate(source, TEMPLATE)
    found = Similarity.between(source, TEMPLATE)
    assert found is not None
    assert np.allclose(found.points(source), wanted(source), atol=1e-6)
    assert abs(found.turn) == pytest.approx(wanted.scale)


def test_a_turned_face_comes_back_upright() -> None:
    source = turned(TEMPLATE, 140, 3.0)
    found = to_template(source, 112)
    assert found is not None
    assert np.abs(found.points(source) - TEMPLATE).max() < 1e-9


def test_real_landmarks_land_near_the_template() -> None:
    found = to_template(LANDMARKS, 112)
    assert found is not None
    assert np.abs(found.points(LANDMARKS) - TEMPLATE).max() < 6  # a real face is not the template
    assert np.abs(found.points(LANDMARKS).mean(axis=0) - TEMPLATE.mean(axis=0)).max() < 1e-9


def test_margin_shrinks_the_face_around_the_middle() -> None:
    found = to_template(TEMPLATE, 160, margin=0.25)
    assert found is not None
    assert np.allclose(found.points(TEMPLATE), (TEMPLATE + 28) * 160 / 168)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 7.0)])
def test_landmarks_in_one_point_have_no_direction(points: np.ndarray) -> None:
    assert to_template(points, 112) is None
    assert aligned(opened("astronaut.png"), points, 112) is None


@pytest.mark.parametrize("degrees", [0, 30, -70])
def test_pixels_are_those_of_opencv(degrees: float) -> None:
    """insightface aligns with cv2.warpAffine; compared inside the picture, where neither has to invent anything."""
    picture = opened("astronaut.png").rotate(degrees, Image.Resampling.BICUBIC, center=(224, 120))
    landmarks = (LANDMARKS - (224, 120)) @ rotation(degrees) + (224, 120)
    found = to_template(landmarks, 112)
    crop = aligned(picture, landmarks, 112)
    assert found is not None and crop is not None
    turn, shift = found.turn, found.shift
    matrix = np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])
    wanted = cv2.warpAffine(np.asarray(picture), matrix, (112, 112), flags=cv2.INTER_LINEAR)
    difference = np.abs(np.asarray(crop).astype(int) - wanted)[8:-8, 8:-8]
    assert difference.mean() < 0.6, "OpenCV rounds positions to 1/32 pixel"
    assert difference.max() <= 12


def rotation(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])


def test_a_face_of_any_size_gives_the_same_crop() -> None:
    """Also one that is shrunk twelve times, which plain interpolation would alias."""
    small = opened("astronaut.png")
    crop = np.asarray(aligned(small, LANDMARKS, 112)).astype(float)
    for factor in (2, 5, 12):
        large = small.resize((512 * factor, 512 * factor), Image.Resampling.BICUBIC)
        found = np.asarray(aligned(large, (LANDMARKS + 0.5) * factor - 0.5, 112)).astype(float)
        assert np.abs(found - crop).mean() < 2.5, factor


def test_a_face_at_the_edge_is_black_beyond_it() -> None:
    crop = np.asarray(aligned(Image.new("RGB", (100, 100), "white"), turned(TEMPLATE, 0, 1.0) - (60, 0), 112))
    assert set(np.unique(crop)) == {0, 255} and 0.1 < (crop == 255).mean() < 0.9


def test_a_face_beside_the_picture_is_black() -> None:
    assert not np.asarray(aligned(opened("astronaut.png"), LANDMARKS * 9 + 9000, 112)).any()


def test_boxes_are_cut_as_facenet_pytorch_cuts_them(torchvision: ModuleType) -> None:
    assert torchvision is not None  # its operators have to be there first
    from facenet_pytorch.models.utils.detect_face import extract_face

    picture = opened("astronaut.png")
    for pixels, margin in ((0, 0.0), (32, 0.125)):
        wanted = extract_face(picture, BOX, 160, pixels).numpy().transpose(1, 2, 0)
        assert np.array_equal(np.asarray(boxed(picture, BOX, 160, margin)), wanted)


@pytest.mark.parametrize(
    "box", [(-50, -50, -10, -10), (600, 10, 700, 90), (511.9, 511.9, 512, 512), (-9, -9, 900, 900)]
)
def test_odd_boxes_give_a_crop(box: tuple[float, ...]) -> None:
    assert boxed(opened("astronaut.png"), np.array(box), 64).size == (64, 64)
