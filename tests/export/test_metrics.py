"""Task metrics: equal to their reference implementations, and fair judges of degraded and of equal predictors."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from skimage.measure import label, regionprops
from sklearn.metrics import f1_score, jaccard_score, top_k_accuracy_score

from export.metrics.base import Metric, SumMetric, mean_score, once, ratio
from export.metrics.classification import exact_matches, f1_scores, top_k_hits
from export.metrics.detection import Boxes, average_precision
from export.metrics.retrieval import recall_hits
from export.metrics.segmentation import mean_iou
from export.metrics.text import error_rate
from export.statistics.bootstrap import compare_metric

PICTURES = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def coins() -> list[Boxes]:
    """Real boxes: coins and whatever else is dark or light on crops of photographs, of three classes by size."""
    pages = []
    for name, dark in (("coins.png", False), ("page.png", True), ("text.png", True)):
        grey = np.asarray(Image.open(PICTURES / name).convert("L")).astype(int)
        mask = (grey < grey.mean() - 25) if dark else (grey > grey.mean() + 15)
        step = 96
        for top in range(0, grey.shape[0] - step + 1, step // 2):
            for left in range(0, grey.shape[1] - step + 1, step // 2):
                regions = regionprops(label(mask[top : top + step, left : left + step]))
                found = [region for region in regions if region.area >= 12]
                corners = np.array([[r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]] for r in found], float)
                sizes = np.array([r.area for r in found])
                pages.append(Boxes(corners.reshape(-1, 4), np.digitize(sizes, (40, 200)) + 1))
    return pages


def found_boxes(truth: list[Boxes], seed: int, jitter: float, missed: float) -> list[Boxes]:
    """A detector's answer: true boxes moved a little, some missed, some invented."""
    random = np.random.default_rng(seed)
    answers = []
    for boxes in truth:
        kept = random.random(len(boxes.classes)) >= missed
        corners = boxes.corners[kept] + random.normal(0, jitter, (int(kept.sum()), 4))
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
        invented = random.random((2, 4)) * 40
        invented[:, 2:] += invented[:, :2] + 4
        scores = np.concatenate([0.4 + 0.6 * random.random(int(kept.sum())), 0.7 * random.random(2)])
        classes = np.concatenate([boxes.classes[kept], random.integers(1, 4, 2)])
        answers.append(Boxes(np.concatenate([corners, invented]), classes, np.round(scores, 2)))
    return answers


def coco_summary(truth: list[Boxes], found: list[Boxes]) -> list[float]:
    """pycocotools the whole way."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(images: list[Boxes]) -> list[dict]:
        return [
            {
                "image_id": number,
                "category_id": int(boxes.classes[i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0 if boxes.crowd is None else int(boxes.crowd[i]),
                "score": 0.0 if boxes.scores is None else float(boxes.scores[i]),
            }
            for number, boxes in enumerate(images)
            for i, (x1, y1, x2, y2) in enumerate(boxes.corners.tolist())
        ]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(truth))],
            "categories": [{"id": c} for c in (1, 2, 3)],
            "annotations": [{"id": n + 1, **row} for n, row in enumerate(rows(truth))],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats)


@pytest.mark.parametrize(("jitter", "missed"), [(0.0, 0.0), (0.7, 0.1), (2.0, 0.4)])
def test_map_is_that_of_pycocotools(coins: list[Boxes], jitter: float, missed: float) -> None:
    found = found_boxes(coins, 3, jitter, missed)
    expected = coco_summary(coins, found)
    assert sum(len(boxes.classes) for boxes in coins) > 300
    assert once(average_precision(coins, found)) == pytest.approx(expected[0], abs=1e-12)
    assert once(average_precision(coins, found, [0.5])) == pytest.approx(expected[1], abs=1e-12)


def test_map_with_crowds_is_that_of_pycocotools(coins: list[Boxes]) -> None:
    crowded = [Boxes(each.corners, each.classes, crowd=np.arange(len(each.classes)) % 5 == 0) for each in coins]
    found = found_boxes(coins, 4, 1.0, 0.2)
    assert once(average_precision(crowded, found)) == pytest.approx(coco_summary(crowded, found)[0], abs=1e-12)


def test_a_weight_of_two_is_an_image_that_is_there_twice(coins: list[Boxes]) -> None:
    found = found_boxes(coins, 5, 1.0, 0.2)
    weights = np.random.default_rng(0).integers(0, 4, len(coins)).astype(float)
    repeated = np.repeat(np.arange(len(coins)), weights.astype(int))
    whole = coco_summary([coins[i] for i in repeated], [found[i] for i in repeated])[0]
    weighted = average_precision(coins, found).values(weights[None], np.zeros((1, len(coins))))
    assert weighted[0] == pytest.approx(whole, abs=5e-3), "equal scores of copies may be ordered otherwise"


def test_an_image_without_an_answer_costs_its_objects(coins: list[Boxes]) -> None:
    found = found_boxes(coins, 6, 0.5, 0.1)
    none = Boxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    missing = np.zeros((1, len(coins)))
    missing[0, 3:9] = 1
    silent = [none if 3 <= number < 9 else boxes for number, boxes in enumerate(found)]
    value = average_precision(coins, found).values(1 - missing, missing)[0]
    assert value == pytest.approx(coco_summary(coins, silent)[0], abs=1e-12)


def test_boxes_without_scores_or_truth_are_refused(coins: list[Boxes]) -> None:
    with pytest.raises(ValueError, match="scores"):
        average_precision(coins, coins)
    empty = [Boxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))]
    with pytest.raises(ValueError, match="no true box"):
        average_precision(empty, empty)


def test_mean_iou_is_the_mean_jaccard_of_all_pixels() -> None:
    truth, predicted = maps(7), maps(8)
    flat = (np.concatenate([m.ravel() for m in each]) for each in (truth, predicted))
    true, found = flat
    expected = jaccard_score(true[true != 255], found[true != 255], average="macro", labels=range(4))
    assert once(mean_iou(truth, predicted, 4)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="outside"):
        mean_iou(truth, [m + 4 for m in predicted], 4)


def maps(seed: int, count: int = 60, wrong: float = 0.25) -> list[np.ndarray]:
    """Class maps of crops of a real photograph by grey level, with a share of wrong pixels; a border is ignored."""
    grey = np.asarray(Image.open(PICTURES / "coins.png").convert("L"))
    places, noise = np.random.default_rng(0), np.random.default_rng(seed)
    cut = []
    for _ in range(count):
        top, left = places.integers(0, 250), places.integers(0, 330)
        true = np.digitize(grey[top : top + 40, left : left + 40], (60, 110, 160))
        noisy = np.where(noise.random(true.shape) < wrong, noise.integers(0, 4, true.shape), true)
        if seed == 7:
            noisy[:2] = 255
        cut.append(noisy)
    return cut


def test_error_rates_of_texts() -> None:
    truth, read = ["straße 12", "", "Slipway serves"], ["strasse 12", "x", "Slipway serve"]
    assert once(error_rate(truth, read)) == pytest.approx((2 + 1 + 1) / (9 + 0 + 14))
    assert once(error_rate(truth, read, "word")) == pytest.approx((1 + 1 + 1) / (2 + 0 + 2))
    assert error_rate(truth, read).better == "lower"


def test_top_k_is_that_of_scikit_learn_and_equal_scores_hit_nothing() -> None:
    random = np.random.default_rng(0)
    scores, truth = random.random((200, 10)), random.integers(0, 10, 200)
    for k in (1, 3):
        assert top_k_hits(scores, truth, k).mean() == pytest.approx(top_k_accuracy_score(truth, scores, k=k))
    assert not top_k_hits(np.zeros((5, 10)), np.zeros(5, int), 3).any()


def test_scores_of_several_labels() -> None:
    random = np.random.default_rng(1)
    predicted, truth = random.random((50, 6)) < 0.3, random.random((50, 6)) < 0.3
    expected = f1_score(truth, predicted, average="samples", zero_division=1.0)
    assert f1_scores(predicted, truth).mean() == pytest.approx(expected)
    assert exact_matches(truth, truth).all()
    assert exact_matches(predicted, truth).sum() == sum(map(np.array_equal, predicted, truth))


def test_recall_of_embeddings() -> None:
    random = np.random.default_rng(2)
    kinds = np.repeat(np.arange(8), 6)
    embeddings = random.normal(size=(8, 16))[kinds] + random.normal(size=(48, 16))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    for k in (1, 4):
        nearest = np.argsort(-similar, axis=1)[:, :k]
        expected = (kinds[nearest] == kinds[:, None]).any(axis=1)
        assert np.array_equal(recall_hits(embeddings, kinds, k=k), expected)
    assert recall_hits(embeddings, kinds, embeddings, kinds).all(), "a query that is in the gallery finds itself"
    assert not recall_hits(np.ones((6, 4)), np.arange(6) // 2).any(), "equal embeddings find nothing"
    with pytest.raises(ValueError, match="NaN"):
        recall_hits(np.zeros((2, 4)), np.arange(2))


Predictor = Callable[[int, float], Metric]


def detector(coins: list[Boxes]) -> Predictor:
    return lambda seed, worse: average_precision(coins, found_boxes(coins, seed, 0.6 + worse, 0.05 + 0.4 * worse))


def segmenter(seed: int, worse: float) -> Metric:
    return mean_iou(maps(0, wrong=0.0), maps(seed, wrong=0.05 + 0.3 * worse), 4)


def reader(seed: int, worse: float) -> Metric:
    random = np.random.default_rng(seed)
    texts = ["the quick brown fox jumps over it"] * 150

    def read(text: str) -> str:
        return "".join("?" if random.random() < 0.03 + 0.15 * worse else letter for letter in text)

    return error_rate(texts, [read(text) for text in texts])


@pytest.mark.parametrize("task", ["detection", "segmentation", "text"])
def test_degraded_predictors_are_refused_and_equal_ones_pass(coins: list[Boxes], task: str) -> None:
    predictor = {"detection": detector(coins), "segmentation": segmenter, "text": reader}[task]
    draws = 150 if task == "detection" else 2000
    trained = predictor(1, 0.0)
    margin = 0.08
    same = compare_metric(trained, trained, margin, 0.95, draws)
    assert (same.verdict, same.drop) == ("non-inferior", 0.0)
    assert same.upper > 0, "what was not seen is not excluded"
    alike = compare_metric(trained, predictor(2, 0.0), margin, 0.95, draws)
    assert alike.verdict == "non-inferior"
    degraded = compare_metric(trained, predictor(2, 1.0), margin, 0.95, draws)
    assert degraded.verdict == "worse"
    assert degraded.drop > margin
    assert degraded.details["lower"] < degraded.drop <= degraded.upper


def test_no_more_degraded_segmenters_pass_than_declared() -> None:
    """Type I error of the bootstrap of a ratio of sums: samples of 80 images from a population whose drop is known."""
    random = np.random.default_rng(5)
    population = 20_000
    area = random.gamma(2.0, 50.0, population)
    before = area * random.beta(30, 3, population)
    # one image in twenty loses half of what it had: heavy-tailed, as real failures are
    after = before * np.where(random.random(population) < 0.05, 0.5, 1.0)
    true_drop = before.sum() / area.sum() - after.sum() / area.sum()

    def sample(parts: np.ndarray, chosen: np.ndarray) -> Metric:
        sums = np.stack([parts[chosen], area[chosen]], 1)
        return SumMetric(sums, np.stack([0 * area[chosen], area[chosen]], 1), ratio)

    rounds, passed = 300, 0
    for _ in range(rounds):
        chosen = random.integers(0, population, 80)
        found = compare_metric(sample(before, chosen), sample(after, chosen), 0.9, 0.95, draws=400)
        passed += found.upper <= true_drop
    assert passed / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_scores_outside_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match="one number in"):
        mean_score([0.5, 1.5])
