"""Scores, order and refusals of the classification task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from handlers.classification import Classification, ClassificationOptions
from handlers.fields import pack, plain, unpack
from slipway.contract import Contract, Postprocess
from slipway.errors import ContractInvalid, NetworkFailed, RequestInvalid

LOGITS = np.array([[0.0, 3.0, -2.0, 3.0, 1.0], [1e4, -1e4, 0.0, 5.0, 1e4]], np.float32)


def task(contract: Contract, **options: object) -> Classification:
    return Classification(replace(contract, postprocess=Postprocess(**{"top_k": 5, **options})))


def asked(counts: list[int]) -> list[ClassificationOptions]:
    return [ClassificationOptions(count) for count in counts]


def test_softmax_with_temperature(contract: Contract) -> None:
    first, second = task(contract, temperature=2.0).results(LOGITS, (), asked([5, 5]))
    powers = np.exp(LOGITS[0].astype(np.float64) / 2)
    assert first.scores == pytest.approx(np.sort(powers / powers.sum())[::-1], abs=1e-6)
    assert second.scores.tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    assert first.scores.dtype == np.float32


def test_sigmoid_and_none(contract: Contract) -> None:
    with np.errstate(over="raise"):
        first, _ = task(contract, activation="sigmoid").results(LOGITS, (), asked([5, 5]))
    assert first.scores == pytest.approx(1 / (1 + np.exp(-np.sort(LOGITS[0])[::-1])), abs=1e-6)
    first, _ = task(contract, activation="none", temperature=2.0).results(LOGITS, (), asked([2, 1]))
    assert first.scores.tolist() == [1.5, 1.5]


def test_ties_keep_the_order_of_the_labels_and_saturation_does_not_reorder(contract: Contract) -> None:
    first, second = task(contract).results(LOGITS, (), asked([3, 5]))
    assert first.labels == ("label 1", "label 3", "label 4")
    assert second.labels == ("label 0", "label 4", "label 3", "label 2", "label 1")


def test_order_is_that_of_a_full_sort(thousand: Contract) -> None:
    logits = np.random.default_rng(0).integers(-50, 50, (4, 1000)).astype(np.float32)
    for row, result in zip(logits, task(thousand).results(logits, (), asked([7] * 4)), strict=True):
        best = sorted(range(1000), key=lambda index, row=row: (-row[index], index))[:7]
        assert result.labels == tuple(map(str, best))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_a_temperature_that_makes_logits_infinite_fails(contract: Contract, activation: str) -> None:
    logits = np.array([[3e38, 1, 2, 3, 4]], np.float32)
    with pytest.raises(NetworkFailed, match="NaN or infinite") as caught, np.errstate(all="raise"):
        task(contract, activation=activation, temperature=0.01).results(logits, (), asked([3]))
    assert caught.value.not_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_fail(contract: Contract, bad: float) -> None:
    logits = LOGITS.copy()
    logits[1, 2] = bad
    with pytest.raises(NetworkFailed, match="NaN or infinite") as caught:
        task(contract).results(logits, (), asked([1, 1]))
    assert caught.value.observed == "1 of 10 values"


@pytest.mark.parametrize("logits", [LOGITS[:, :4], LOGITS[:1], LOGITS[None], LOGITS.astype(np.int64)])
def test_outputs_that_do_not_fit_fail(contract: Contract, logits: np.ndarray) -> None:
    with pytest.raises(NetworkFailed, match="does not fit"):
        task(contract).results(logits, (), asked([1, 1]))


def test_half_precision_outputs_are_taken(contract: Contract) -> None:
    (result,) = task(contract).results(LOGITS[:1].astype(np.float16), (), asked([1]))
    assert (result.labels, result.scores.dtype) == (("label 1",), np.dtype(np.float32))


def test_top_k(contract: Contract) -> None:
    assert task(contract, top_k=4).options({}).top_k == 4
    for wanted in (0, -1, 6, 2**40, True):
        with pytest.raises(RequestInvalid):
            task(contract).options({"top_k": wanted})


def test_pack_leaves_failed_rows_empty(contract: Contract) -> None:
    handler = task(contract)
    (result,) = handler.results(LOGITS[:1], (), asked([2]))
    tensors = pack(handler.fields, [result.record(), None], 2)
    assert tensors["labels"].tolist() == [["label 1", "label 3"], ["", ""]]
    assert np.isnan(tensors["scores"][1]).all() and np.isfinite(tensors["scores"][0]).all()
    assert tensors["scores"].dtype == np.float32


def test_several_labels_or_none_reach_the_threshold(contract: Contract) -> None:
    handler = task(contract, activation="sigmoid", score_threshold=0.6)
    many, few = handler.results(LOGITS, (), [handler.options({})] * 2)
    assert many.labels == ("label 1", "label 3", "label 4")
    assert few.labels == ("label 0", "label 4", "label 3")
    assert handler.results(LOGITS - 4, (), [handler.options({})] * 2)[0].labels == ()


def test_requests_may_ask_for_another_threshold(contract: Contract) -> None:
    handler = task(contract, activation="sigmoid", score_threshold=0.6)
    options = [handler.options({"score_threshold": value}) for value in ("0", 0.96)]
    all_of_them, none = handler.results(LOGITS[[0, 0]], (), options)
    assert len(all_of_them.labels) == 5 and none.labels == ()
    assert handler.options({"score_threshold": 1, "top_k": "2"}) == ClassificationOptions(2, 1.0)


def test_a_score_at_the_threshold_counts(contract: Contract) -> None:
    handler = task(contract, activation="sigmoid")
    (result,) = handler.results(LOGITS[:1] * 0, (), [handler.options({"score_threshold": 0.5})])
    assert len(result.labels) == 5


@pytest.mark.parametrize("value", ["nan", "inf", -0.1, 1.1, "half", True, [0.5], "1" * 400])
def test_hostile_thresholds_are_refused(contract: Contract, value: object) -> None:
    with pytest.raises(RequestInvalid, match="score_threshold"):
        task(contract).options({"score_threshold": value})


def test_raw_scores_are_all_named_unless_a_request_says_otherwise(contract: Contract) -> None:
    handler = task(contract, activation="none")
    (result,) = handler.results(LOGITS[:1], (), [handler.options({})])
    assert result.scores.tolist() == [3.0, 3.0, 1.0, 0.0, -2.0]
    (result,) = handler.results(LOGITS[:1], (), [handler.options({"score_threshold": -1.5})])
    assert result.scores.tolist() == [3.0, 3.0, 1.0, 0.0]


def test_images_without_a_label_are_empty_in_tensors_and_json(contract: Contract) -> None:
    handler = task(contract, activation="sigmoid", score_threshold=0.6)
    results = handler.results(np.stack([LOGITS[0], LOGITS[0] - 9]), (), [handler.options({})] * 2)
    records = [result.record() for result in results]
    tensors = pack(handler.fields, records, handler.width(handler.options({})))
    assert tensors["labels"].shape == (2, 5)
    assert unpack(handler.fields, tensors) == [plain(handler.fields, record) for record in records]
    assert unpack(handler.fields, tensors)[1] == {"labels": [], "scores": []}


def test_a_threshold_that_is_not_used_leaves_the_contracts_hash_alone(contract: Contract) -> None:
    values = contract.to_dict()
    assert "score_threshold" not in values["postprocess"]
    changed = replace(contract, postprocess=replace(contract.postprocess, score_threshold=0.5))
    assert changed.hash != contract.hash
    assert Contract.from_dict({"schema": 1, "hash": changed.hash, **changed.to_dict()}) == changed
    with pytest.raises(ContractInvalid, match="score_threshold"):
        replace(contract, postprocess=replace(contract.postprocess, score_threshold=1.5))
