"""The whole path over a real ONNX network: order, splitting, failures."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


_PEAK = """
import io, sys
from pathlib import Path
import numpy as np
from PIL import Image
from handlers.pipeline import Pipeline
from slipway.contract import Contract
contract = Contract.read(Path(sys.argv[1]))
stream = io.BytesIO()
Image.new("RGB", (5000, 4000)).save(stream, "PNG", compress_level=1)
pipeline = Pipeline(contract, lambda pixels: np.zeros((len(pixels), 5), np.float32))
found = pipeline.run([stream.getvalue()] * int(sys.argv[2]))
assert len(found) == int(sys.argv[2])
# not ru_maxrss, which a child inherits from the process that starts it
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_large_pictures_of_a_request_are_not_held_together(contract: Contract, tmp_path: Path) -> None:
    """4 pictures of 20 megapixels take no more than one: each is 80 MB when decoded."""
    (tmp_path / "contract.json").write_text(contract.to_json())

    def peak(images: int) -> int:
        command = [sys.executable, "-c", _PEAK, str(tmp_path / "contract.json"), str(images)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024

    one, four = peak(1), peak(4)
    assert four - one < 40_000_000, f"{one / 1e6:.0f} MB for one, {four / 1e6:.0f} MB for four"


def test_large_pictures_part_no_small_ones(contract: Contract, network: RunNetwork) -> None:
    """Groups are cut by pixels only, in order, and a picture of any size has its answer in its own place."""
    stream = io.BytesIO()
    Image.new("RGB", (6000, 5000), "red").save(stream, "PNG")
    sizes: list[int] = []

    def counting(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        return network(pixels)

    pipeline = Pipeline(contract, counting)
    mixed = [*IMAGES[:4], stream.getvalue(), b"junk", stream.getvalue(), *IMAGES[4:7]]
    answers = pipeline.run(mixed, [pipeline.task.options({"top_k": 1 + index % 5}) for index in range(len(mixed))])
    assert sizes == [4, 1, 4]
    assert isinstance(answers[5], ImageFormatUnsupported)
    for index in (0, 3, 4, 6, 9):
        assert same(pipeline.run([mixed[index]], {"top_k": 1 + index % 5})[0], answers[index])


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
