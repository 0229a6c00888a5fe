"""Several requests through one run of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.answer import Question, answer, answers
from handlers.classification import ClassificationOptions, ClassificationResult
from handlers.networks import open_network
from handlers.pipeline import Pipeline, RunNetwork
from slipway.contract import Contract
from slipway.errors import ImageEmpty, NetworkFailed, ServerUnavailable
from tests.handlers.pictures import encode, picture, read

ASTRONAUT, COFFEE = read("astronaut.png"), read("coffee.png")
WHITE = encode(picture().point(lambda value: 255), "PNG")


@pytest.fixture(scope="module")
def network(onnx_file: Path) -> RunNetwork:
    pytest.importorskip("onnxruntime")
    return open_network(onnx_file)


def test_requests_share_the_network_and_get_their_own(contract: Contract, network: RunNetwork) -> None:
    calls: list[int] = []

    def counting(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        return network(pixels)

    pipeline = Pipeline(contract, counting)
    questions = [
        Question([ASTRONAUT, b"junk"], ClassificationOptions(2)),
        Question([b"", b"x"], ClassificationOptions(1)),
        Question([COFFEE], ClassificationOptions(5)),
    ]
    first, second, third = answer(pipeline, questions)
    assert calls == [2]
    assert first["labels"].shape == first["scores"].shape == (2, 2) and first["errors"].shape == (2, 1)
    assert first["errors"][0, 0] == "" and first["errors"][1, 0].startswith("IMAGE_FORMAT_UNSUPPORTED: ")
    assert first["labels"][1].tolist() == ["", ""] and np.isnan(first["scores"][1]).all()
    assert isinstance(second, ImageEmpty)
    (alone,) = answer(pipeline, [Question([COFFEE], ClassificationOptions(5))])
    assert third["labels"].tolist() == alone["labels"].tolist()


def test_a_network_that_fails_on_one_picture_fails_one_request(contract: Contract, network: RunNetwork) -> None:
    def overflows(pixels: np.ndarray) -> np.ndarray:
        logits = network(pixels).copy()
        logits[pixels.reshape(len(pixels), -1).mean(axis=1) == 255] = np.nan
        return logits

    replies = answer(
        Pipeline(contract, overflows),
        [Question([image], ClassificationOptions(1)) for image in (ASTRONAUT, WHITE, COFFEE, b"")],
    )
    assert isinstance(replies[1], NetworkFailed) and isinstance(replies[3], ImageEmpty)
    assert replies[0]["labels"].shape == replies[2]["labels"].shape == (1, 1)


def test_a_server_that_is_away_is_asked_once(contract: Contract) -> None:
    calls: list[int] = []

    def away(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        raise ServerUnavailable("the network cannot be reached")

    replies = answer(
        Pipeline(contract, away),
        [Question([ASTRONAUT], ClassificationOptions(1)), Question([COFFEE], ClassificationOptions(1))],
    )
    assert calls == [2] and all(isinstance(reply, ServerUnavailable) for reply in replies)


@pytest.mark.parametrize("defect", [MemoryError("no room"), RuntimeError("a bug")])
def test_an_exception_that_nobody_expects_fails_one_request(
    contract: Contract, network: RunNetwork, defect: Exception
) -> None:
    def fails(pixels: np.ndarray) -> np.ndarray:
        if (pixels.reshape(len(pixels), -1).mean(axis=1) == 255).any():
            raise defect
        return network(pixels)

    pipeline = Pipeline(contract, fails)
    questions = [Question([image], ClassificationOptions(1)) for image in (ASTRONAUT, WHITE, COFFEE)]
    for found in (answer(pipeline, questions), answers(pipeline, questions)):
        assert found[1] is defect
        assert not isinstance(found[0], Exception) and not isinstance(found[2], Exception)
    assert answers(pipeline, [questions[1]]) == [defect]


def test_a_record_that_cannot_be_packed_fails_one_request(
    contract: Contract, network: RunNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(contract, network)
    record = ClassificationResult.record

    def broken(result: ClassificationResult) -> Any:
        if len(result.labels) > 1:
            raise RuntimeError("a bug")
        return record(result)

    monkeypatch.setattr(ClassificationResult, "record", broken)
    replies = answer(pipeline, [Question([ASTRONAUT], ClassificationOptions(top_k)) for top_k in (1, 2)])
    assert replies[0]["labels"].shape == (1, 1)
    assert isinstance(replies[1], RuntimeError)
