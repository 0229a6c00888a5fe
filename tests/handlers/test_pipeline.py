"""The whole path over a real ONNX network: order, splitting, failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handlers.classification import ClassificationResult
from handlers.networks import open_network
from handlers.pipeline import Pipeline, RunNetwork
from handlers.preprocess import preprocess
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageEmpty, ImageFormatUnsupported, NetworkFailed, RequestInvalid
from tests.handlers.pictures import ODD, read

IMAGES = [read(name) for name in ODD]


@pytest.fixture(scope="module")
def network(onnx_file: Path) -> RunNetwork:
    pytest.importorskip("onnxruntime")
    return open_network(onnx_file)


def same(first: ClassificationResult, second: ClassificationResult) -> bool:
    return first.labels == second.labels and np.allclose(first.scores, second.scores, atol=1e-6)


def test_answers_are_those_of_the_parts(contract: Contract, network: RunNetwork) -> None:
    (result,) = Pipeline(contract, network).run([IMAGES[0]])
    logits = network(preprocess(IMAGES[0], contract.preprocess)[None])[0]
    assert result.labels[0] == contract.labels[int(logits.argmax())]
    assert len(result.labels) == len(result.scores) == contract.postprocess.top_k


def test_batches_are_split_and_in_order(contract: Contract, network: RunNetwork) -> None:
    sizes: list[int] = []

    def counting(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        assert pixels.flags.c_contiguous and pixels.dtype == np.uint8
        return network(pixels)

    pipeline = Pipeline(contract, counting)
    together = pipeline.run(IMAGES)
    assert sizes == [4, 4, 4, 2]
    for image, result in zip(IMAGES, together, strict=True):
        assert same(pipeline.run([image])[0], result)


def test_bad_images_cost_the_others_nothing(contract: Contract, network: RunNetwork) -> None:
    pipeline = Pipeline(contract, network)
    mixed = [b"junk", *IMAGES[:5], b"", *IMAGES[5:6]]
    answers = pipeline.run(mixed)
    assert isinstance(answers[0], ImageFormatUnsupported) and isinstance(answers[6], ImageEmpty)
    good = [answer for answer in answers if isinstance(answer, ClassificationResult)]
    for expected, answer in zip(pipeline.run(IMAGES[:6]), good, strict=True):
        assert same(expected, answer)


def test_no_network_call_without_a_good_image(contract: Contract) -> None:
    def never(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError(pixels.shape)

    pipeline = Pipeline(contract, never)
    assert pipeline.run([]) == []
    assert [type(answer) for answer in pipeline.run([b"", b"x"])] == [ImageEmpty, ImageFormatUnsupported]


def test_top_k_of_all_and_of_each(contract: Contract, network: RunNetwork) -> None:
    pipeline = Pipeline(contract, network)
    assert [len(answer.labels) for answer in pipeline.run(IMAGES[:3], {"top_k": 2})] == [2, 2, 2]
    each = [pipeline.task.options({"top_k": count}) for count in (1, 5, 3)]
    assert [len(answer.labels) for answer in pipeline.run(IMAGES[:3], each)] == [1, 5, 3]
    for wrong in ({"top_k": 0}, {"top_k": 6}, each[:2]):
        with pytest.raises(RequestInvalid):
            pipeline.run(IMAGES[:3], wrong)


def test_network_failures_are_raised(contract: Contract, network: RunNetwork) -> None:
    with pytest.raises(NetworkFailed):
        Pipeline(contract, lambda pixels: network(pixels) * np.float32("nan")).run(IMAGES[:1])
    with pytest.raises(NetworkFailed):
        Pipeline(contract, lambda pixels: network(pixels)[:1]).run(IMAGES[:2])


@pytest.mark.parametrize(
    "handler", ["handlers.classification:Nothing", "nowhere.at.all:X", "", "handlers.classification"]
)
def test_a_handler_that_is_not_there(contract: Contract, network: RunNetwork, handler: str) -> None:
    with pytest.raises(ContractInvalid):
        Pipeline(replace(contract, handler=handler), network)
