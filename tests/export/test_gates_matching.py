"""Answers that are sets: a real detector's boxes, texts, embeddings and masks, agreeing and not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from export.gates.base import Reference
from export.gates.matching import (
    Detections,
    DetectionTolerance,
    TextRegion,
    compare_detections,
    compare_embeddings,
    compare_label_maps,
    compare_masks,
    compare_texts,
    match_detections,
    non_maximum_suppression,
)
from export.gates.matching.assignment import assign, overlaps
from export.sources.torchvision_shim import import_torchvision
from tests.export import small_model

SIZE = 320
NMS_IOU = 0.5
SCORE = 0.22
Raw = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def raw() -> list[Raw]:
    """Boxes float32[N, 4] and class scores float32[N, C] of a real detector's anchors before NMS, by photograph.

    SSDLite on MobileNetV3 with random weights whose batch statistics are those of the photographs: hundreds of boxes,
    many near-ties and every class in the same places, which is harder to match than a trained detector's answer."""
    vision = import_torchvision()
    torch.manual_seed(3)
    model = vision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    ).eval()
    pictures = [torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255 for picture in _pictures()]
    images, _ = model.transform(pictures)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
            layer.momentum = None
    with torch.no_grad():
        model.head(list(model.backbone(images.tensors).values()))
        model.eval()
        for head in model.head.classification_head.module_list:
            head[1].weight *= 3  # confident enough for a threshold to mean something
        features = list(model.backbone(images.tensors).values())
        heads, anchors = model.head(features), model.anchor_generator(images, features)
        found = []
        for index, anchor in enumerate(anchors):
            boxes = model.box_coder.decode_single(heads["bbox_regression"][index], anchor).clamp(0, SIZE)
            scores = heads["cls_logits"][index].softmax(1)[:, 1:]
            best = scores.amax(1).topk(400).indices
            found.append((boxes[best].numpy(), scores[best].numpy()))
    return found


def _pictures() -> list[np.ndarray]:
    from PIL import Image

    return [np.asarray(Image.fromarray(item).resize((SIZE, SIZE))) for item in small_model.photographs()[:4]]


def flat(item: Raw) -> Detections:
    """Every class score above the threshold as one candidate."""
    boxes, scores = item
    rows, classes = np.nonzero(scores > SCORE)
    return Detections(boxes[rows], scores[rows, classes], classes)


def by_torchvision(item: Raw) -> Detections:
    vision, candidates = import_torchvision(), flat(item)
    kept = vision.ops.batched_nms(
        torch.from_numpy(candidates.boxes),
        torch.from_numpy(candidates.scores),
        torch.from_numpy(candidates.classes),
        NMS_IOU,
    )
    return candidates.take(kept.numpy())


def by_onnx(item: Raw, *, class_aware: bool = True, iou: float = NMS_IOU, most: int = 400) -> Detections:
    """The ONNX operator in onnxruntime; without ``class_aware`` each box keeps its best class and all are one."""
    boxes, scores = item
    classes = scores.argmax(1)
    given = scores.T[None] if class_aware else scores.max(1)[None, None]
    names = ("boxes", "scores", "most", "iou", "score")
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", list(names), ["kept"], name="nms")],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, None, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, None, None]),
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3])],
        [
            helper.make_tensor("most", TensorProto.INT64, [1], [most]),
            helper.make_tensor("iou", TensorProto.FLOAT, [1], [iou]),
            helper.make_tensor("score", TensorProto.FLOAT, [1], [SCORE]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    kept = session.run(None, {"boxes": boxes[None], "scores": np.ascontiguousarray(given)})[0]
    rows = kept[:, 2]
    chosen = kept[:, 1] if class_aware else classes[rows]
    return Detections(boxes[rows], scores[rows, chosen], chosen)


@pytest.fixture(scope="module")
def wanted(raw: list[Raw]) -> list[Detections]:
    found = [by_torchvision(item) for item in raw]
    assert all(len(item) > 30 for item in found), "few boxes would test little"
    assert all(len(np.unique(item.classes)) >= 3 for item in found)
    return found


def test_the_same_detections_in_another_order_agree(raw: list[Raw], wanted: list[Detections]) -> None:
    """onnxruntime's NMS gives them by class, torchvision's by score: index by index nothing would agree."""
    found = [by_onnx(item) for item in raw]
    first = min(len(wanted[0]), len(found[0]))
    assert not np.allclose(wanted[0].boxes[:first], found[0].boxes[:first], atol=5)
    result = compare_detections(wanted, found)
    assert (result.agreement, result.missing, result.extra, result.cause) == (1.0, 0, 0, None)
    assert result.matched == sum(len(item) for item in wanted)
    assert result.max_box_difference < 1e-3
    assert result.max_score_difference < 1e-5
    assert not result.vacuous


def test_small_differences_of_boxes_and_scores_agree_and_are_told(wanted: list[Detections]) -> None:
    random = np.random.default_rng(0)
    found = [
        item.changed(
            boxes=item.boxes + random.uniform(-0.4, 0.4, item.boxes.shape),
            scores=item.scores + random.uniform(-1e-3, 1e-3, item.scores.shape),
        ).take(random.permutation(len(item)))
        for item in wanted
    ]
    result = compare_detections(wanted, found)
    assert result.agreement > 0.98
    assert result.max_box_difference > 0.3
    assert 0 < result.max_score_difference <= 0.05


def test_class_agnostic_suppression_is_named(raw: list[Raw], wanted: list[Detections]) -> None:
    """The NMS class bug, in a real ONNX graph and by torchvision's operator on all classes at once."""
    result = compare_detections(wanted, [by_onnx(item, class_aware=False) for item in raw])
    assert result.agreement < 0.9
    assert result.missing > 20
    assert result.cause
    assert result.cause.startswith("class-agnostic NMS: ")
    assert "missing boxes overlap" in result.cause
    vision, agnostic = import_torchvision(), []
    for item in raw:
        candidates = flat(item)
        kept = vision.ops.nms(torch.from_numpy(candidates.boxes), torch.from_numpy(candidates.scores), NMS_IOU)
        agnostic.append(candidates.take(kept.numpy()))
    assert (compare_detections(wanted, agnostic).cause or "").startswith("class-agnostic NMS: ")


def test_suppression_in_numpy_is_torchvisions(raw: list[Raw], wanted: list[Detections]) -> None:
    for item, expected in zip(raw, wanted, strict=True):
        candidates = flat(item)
        kept = candidates.take(non_maximum_suppression(candidates, NMS_IOU))
        assert match_detections(expected, kept, DetectionTolerance(0.99, 1e-6)).missing == ()
        assert len(kept) == len(expected)


def test_suppression_that_does_not_happen_is_named(raw: list[Raw], wanted: list[Detections]) -> None:
    result = compare_detections(wanted, [flat(item) for item in raw])
    assert result.extra > 100
    assert (result.cause or "").startswith("NMS is missing or its IoU threshold is higher: ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda item: item.changed(classes=item.classes + 1),
            "its class numbers are shifted by +1 (a background class",
        ),
        (lambda item: item.changed(boxes=item.boxes[:, [1, 0, 3, 2]]), "its boxes are y1, x1, y2, x2"),
        (
            lambda item: item.changed(
                boxes=np.concatenate(
                    [(item.boxes[:, :2] + item.boxes[:, 2:]) / 2, item.boxes[:, 2:] - item.boxes[:, :2]], 1
                )
            ),
            "its boxes are centre and size",
        ),
        (
            lambda item: item.changed(
                boxes=np.concatenate([item.boxes[:, :2], item.boxes[:, 2:] - item.boxes[:, :2]], 1)
            ),
            "its boxes are corner and size",
        ),
        (
            lambda item: item.changed(boxes=item.boxes / SIZE),
            "its boxes are in another frame: x is 0.003125 and y 0.003125",
        ),
        (
            lambda item: item.changed(boxes=item.boxes * [2, 1.5, 2, 1.5] + [0, 40, 0, 40]),
            "its boxes are in another frame: x is 2 and y 1.5 times as large, moved by",
        ),
        (lambda item: item.take(np.flatnonzero(item.scores > 0.5)), "the export cuts at a score of about 0.5"),
        (lambda item: item.take(np.argsort(-item.scores)[:25]), "the export keeps 25 boxes of an image at most"),
        (lambda item: item.changed(scores=item.scores / 2), "boxes and classes agree, the scores do not, by up to"),
    ],
)
def test_mistakes_of_postprocessing_are_named(
    wanted: list[Detections], change: Callable[[Detections], Detections], text: str
) -> None:
    result = compare_detections(wanted, [change(item) for item in wanted])
    assert result.agreement < 0.9
    assert text in (result.cause or "none")


def test_boxes_of_no_known_mistake_have_no_cause(wanted: list[Detections]) -> None:
    random = np.random.default_rng(0)
    moved = [item.changed(boxes=item.boxes + random.uniform(-90, 90, (len(item), 1))) for item in wanted]
    result = compare_detections(wanted, moved)
    assert result.agreement < 0.5
    assert result.cause is None


def test_detections_at_the_cut_count_for_nothing() -> None:
    box = np.array([[10, 10, 50, 50], [100, 100, 150, 150]], np.float32)
    wanted = Detections(box, np.array([0.9, 0.31]), np.array([0, 0]))
    found = Detections(box[:1], np.array([0.9]), np.array([0]))
    assert compare_detections([wanted], [found]).agreement == 0.5
    lenient = compare_detections([wanted], [found], DetectionTolerance(score_threshold=0.3))
    assert (lenient.agreement, lenient.borderline, lenient.missing) == (1.0, 1, 0)


def test_nothing_on_either_side_is_no_proof() -> None:
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    result = compare_detections([nothing], [nothing])
    assert result.vacuous
    assert np.isnan(result.agreement)
    one = Detections(np.array([[0.0, 0, 9, 9]]), np.array([0.9]), np.array([1]))
    assert compare_detections([nothing], [one]).agreement == 0.0
    with pytest.raises(ValueError, match="do not belong together"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2, int))


def test_assignment_takes_as_many_pairs_as_there_can_be() -> None:
    similarity = np.array([[0.9, 0.8], [0.85, 0.0]])
    assert assign(similarity, similarity > 0.5) == [(0, 1), (1, 0)], "greedily the second row would be left alone"
    assert assign(np.zeros((0, 3)), np.zeros((0, 3), bool)) == []


def test_overlaps_are_torchvisions(wanted: list[Detections]) -> None:
    boxes = wanted[0].boxes
    expected = import_torchvision().ops.box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    assert np.allclose(overlaps(boxes, boxes), expected, atol=1e-6)
    assert overlaps(np.array([[0, 0, 0, 5]]), np.array([[0, 0, 9, 9]])).tolist() == [[0.0]]


LINES = ["Slipway 2026", "evidence,", "not hope", "Hannover", "A committee"]


def regions(texts: list[str]) -> list[TextRegion]:
    return [TextRegion(text, (10.0, 30.0 * index, 200.0, 30.0 * index + 25)) for index, text in enumerate(texts)]


def test_texts_in_another_reading_order_agree() -> None:
    result = compare_texts([regions(LINES)], [regions(LINES)[::-1]])
    assert (result.agreement, result.character_error_rate, result.mean_iou, result.cause) == (1.0, 0.0, 1.0, None)
    unplaced = [TextRegion(text) for text in LINES]
    assert compare_texts([unplaced], [unplaced[::-1]]).agreement == 1.0


def test_edits_are_counted_per_character() -> None:
    found = regions(["Slipvay 2026", *LINES[1:]])
    result = compare_texts([regions(LINES)], [found])
    assert (result.equal, result.missing, result.extra) == (4, 0, 0)
    assert result.character_error_rate == pytest.approx(1 / sum(len(text) for text in LINES))
    lost = compare_texts([regions(LINES)], [regions(LINES)[1:]])
    assert lost.missing == 1
    assert lost.character_error_rate == pytest.approx(len(LINES[0]) / sum(len(text) for text in LINES))
    assert compare_texts([[]], [[]]).vacuous


def test_the_same_word_elsewhere_is_not_the_same_region() -> None:
    there = [TextRegion("STOP", (0, 0, 50, 20)), TextRegion("STOP", (300, 0, 350, 20))]
    moved = [TextRegion("STOP", (300, 1, 350, 21)), TextRegion("STOP", (600, 0, 650, 20))]
    result = compare_texts([there], [moved])
    assert (result.pairs, result.missing, result.extra) == (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (str.upper, "only the case of letters differs"),
        (lambda text: text.replace(" ", ""), "only spaces differ"),
        (lambda text: "".join(a for a, b in zip(text, " " + text, strict=False) if a != b), "doubled letters are lost"),
        (lambda text: "".join(chr(ord(letter) + 1) for letter in text), "its alphabet is in another order"),
        (lambda text: text[::-1], None),
    ],
)
def test_mistakes_of_the_decoder_are_named(change: Callable[[str], str], cause: str | None) -> None:
    result = compare_texts([regions(LINES)], [regions([change(text) for text in LINES])])
    assert result.agreement < 1
    assert result.cause is None if cause is None else cause in (result.cause or "none")


@pytest.fixture(scope="module")
def embeddings(reference: Reference, trained: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Features of real patches before the head, in fp32 and in bfloat16."""
    images = reference.module.normalise(torch.from_numpy(reference.pixels.copy()).permute(0, 3, 1, 2).float())
    half = small_model.SmallCnn()
    half.load_state_dict(trained.state_dict())
    half = half.bfloat16().eval()
    with torch.no_grad():
        return trained.features(images).flatten(1).numpy(), half.features(images.bfloat16()).flatten(1).float().numpy()


def test_embeddings_of_fewer_bits_agree(embeddings: tuple[np.ndarray, np.ndarray]) -> None:
    result = compare_embeddings(*embeddings)
    assert 0.999 < result.min_cosine < 1
    assert result.same_neighbour >= 0.9
    assert result.cause is None
    assert not result.vacuous


def test_mistakes_of_embeddings_are_named(embeddings: tuple[np.ndarray, np.ndarray]) -> None:
    wanted, _ = embeddings
    unit = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert compare_embeddings(unit, wanted).cause == "only the trained model normalises its vectors to length 1"
    assert compare_embeddings(wanted, -wanted).cause == "its vectors have the opposite sign"
    reordered = compare_embeddings(wanted, np.roll(wanted, 1, axis=0))
    assert reordered.cause == f"the vectors of {len(wanted)} images came back in another order"
    assert reordered.min_cosine < 0.99
    assert np.isnan(compare_embeddings(wanted, wanted * 0).min_cosine)
    assert compare_embeddings(np.ones((4, 8)), np.ones((4, 8))).vacuous
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_embeddings(wanted, wanted[:, 1:])


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    """Label maps of real photographs: five classes by brightness."""
    return [np.digitize(picture.mean(2), [50, 100, 150, 200]) for picture in _pictures()]


def test_label_maps_agree_with_themselves(maps: list[np.ndarray]) -> None:
    result = compare_label_maps(maps, maps)
    assert (result.mean_iou, result.pixels, result.compared, result.cause, result.vacuous) == (1.0, 1.0, 5, None, False)
    empty = [np.zeros((4, 4), int)]
    assert compare_label_maps(empty, empty).vacuous
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_label_maps(maps, [item[1:] for item in maps])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda item: np.roll(item, (1, 2), (0, 1)), "its maps are moved by +2, +1 pixels"),
        (lambda item: item[:, ::-1], "its maps are mirrored"),
        (lambda item: item[::-1], "its maps are upside down"),
        (lambda item: item.T, "its maps are transposed"),
        (lambda item: item + 1, "its class numbers are shifted by +1"),
        (lambda item: (item * 7 + 3) % 5, None),
    ],
)
def test_mistakes_of_label_maps_are_named(
    maps: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray], cause: str | None
) -> None:
    result = compare_label_maps(maps, [change(item) for item in maps])
    assert result.mean_iou < 0.95
    assert result.cause == cause


def test_ignored_pixels_count_for_nothing(maps: list[np.ndarray]) -> None:
    marked = [np.where(item == 0, 255, item) for item in maps]
    assert compare_label_maps(marked, maps, ignore=255).mean_iou == 1.0
    assert compare_label_maps(marked, maps).mean_iou < 1.0


def test_instances_are_matched_by_overlap(maps: list[np.ndarray]) -> None:
    instances = [np.stack([item == label for label in np.unique(item)]) for item in maps]
    turned = [item[::-1] for item in instances]
    assert compare_masks(instances, turned).mean_iou == 1.0
    lost = compare_masks(instances, [item[1:] for item in turned])
    assert (lost.missing, lost.extra, lost.min_iou) == (4, 0, 0.0)
    assert lost.mean_iou == pytest.approx(1 - 4 / sum(len(item) for item in instances))
    assert compare_masks([np.zeros((0, 4, 4), bool)], [np.zeros((0, 4, 4), bool)]).vacuous
