"""What the python-based backends share: the check of a model against its configuration, and batching of requests.

The classes below stand for Triton's own, which exist only inside its stub process; the e2e tests use the real ones.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.triton.backends.execution import Executor, zeros
from serving.triton.backends.model_config import Config, ModelRefused, Tensor, check_tensors, model_file

CONFIG = {
    "name": "double",
    "max_batch_size": 4,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [
        {"name": "y", "data_type": "TYPE_FP32", "dims": [-1]},
        {"name": "n", "data_type": "TYPE_FP32", "dims": [1]},
    ],
    "parameters": {"intra_op_thread_count": {"string_value": "2"}},
}


class Pb:
    """triton_python_backend_utils, as far as an Executor uses it."""

    @dataclass
    class Tensor:
        name: str
        array: Any

        def as_numpy(self) -> Any:
            return self.array

    class TritonError:
        INVALID_ARG, INTERNAL = "invalid", "internal"

        def __init__(self, text: str, kind: str) -> None:
            self.text, self.kind = text, kind

    @dataclass
    class InferenceResponse:
        output_tensors: list
        error: Any = None

    @staticmethod
    def get_input_tensor_by_name(request: "Request", name: str) -> Any:
        return request.tensors.get(name)


@dataclass
class Request:
    tensors: dict
    wanted: tuple[str, ...] = ()
    asked: list = field(default_factory=list)

    def requested_output_names(self) -> tuple[str, ...]:
        return self.wanted


def request(values: Any, wanted: tuple[str, ...] = (), name: str = "x") -> Request:
    return Request({name: Pb.Tensor(name, np.asarray(values, dtype=np.float32))}, wanted)


@pytest.fixture
def batches() -> list[int]:
    return []


@pytest.fixture
def executor(batches: list[int]) -> Executor:
    def run(feeds: dict, wanted: Any) -> dict:
        x = feeds["x"]
        if (x < 0).any():
            raise RuntimeError("negative\n  File secret.py line 3")
        batches.append(len(x))
        results = {"y": x * 2, "n": np.full((len(x), 1), x.shape[1], np.float32)}
        return {name: results[name] for name in wanted}

    return Executor(Config.parse(json.dumps(CONFIG)), run, Pb)


def test_requests_share_a_batch_up_to_the_limit(executor: Executor, batches: list[int]) -> None:
    requests = [request([[1], [2]]), request([[3]]), request([[4]]), request([[5], [6]])]
    answers = [response.output_tensors[0].array.tolist() for response in executor.execute(requests)]
    assert answers == [[[2], [4]], [[6]], [[8]], [[10], [12]]]
    assert batches == [4, 2]


def test_other_shapes_do_not_share_a_batch(executor: Executor, batches: list[int]) -> None:
    answers = executor.execute([request([[1]]), request([[1, 2]]), request([[3]])])
    assert [item.output_tensors[1].array.tolist() for item in answers] == [[[1]], [[2]], [[1]]]
    assert sorted(batches) == [1, 2]


def test_a_failing_request_fails_alone_and_tells_no_secret(executor: Executor) -> None:
    good, bad, odd = executor.execute([request([[1]]), request([[-1]]), request([[1]], name="z")])
    assert good.error is None and good.output_tensors
    assert bad.error.kind == "internal" and bad.error.text == "NETWORK_FAILED: double: negative"
    assert odd.error.kind == "invalid" and "input x is missing" in odd.error.text


@pytest.mark.parametrize("values", [np.zeros((5, 1)), np.zeros((0, 1)), np.zeros((1, 1, 1)), np.zeros(3)])
def test_odd_batches_are_refused(executor: Executor, values: np.ndarray) -> None:
    (answer,) = executor.execute([request(values)])
    assert answer.error.text.startswith("REQUEST_INVALID: double: ")


def test_only_requested_outputs_are_sent(executor: Executor) -> None:
    one, both = executor.execute([request([[1]], ("n",)), request([[1]])])
    assert [tensor.name for tensor in one.output_tensors] == ["n"]
    assert [tensor.name for tensor in both.output_tensors] == ["y", "n"]


def test_configuration_and_trial_feed() -> None:
    config = Config.parse(json.dumps(CONFIG))
    assert config.inputs == (Tensor("x", "TYPE_FP32", (-1, -1)),)
    assert config.integer("intra_op_thread_count", 1) == 2 and config.integer("other", 1) == 1
    assert zeros(config) is None
    fixed = json.loads(json.dumps(CONFIG)) | {"input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["3"]}]}
    feed = zeros(Config.parse(json.dumps(fixed)))
    assert feed is not None and feed["x"].shape == (1, 3) and feed["x"].dtype == np.uint8


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ([Tensor("other", "TYPE_FP32", (-1, 3))], "declares inputs"),
        ([Tensor("x", "TYPE_UINT8", (-1, 3))], "TYPE_UINT8"),
        ([Tensor("x", "TYPE_FP32", (-1, 4))], r"\[-1, 4\]"),
        ([Tensor("x", "TYPE_FP32", (-1, 3, 1))], r"\[-1, 3, 1\]"),
        ([], "declares inputs"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(declared: list[Tensor], text: str) -> None:
    own = {"x": Tensor("x", "TYPE_FP32", (-1, 3))}
    check_tensors("input", [Tensor("x", "TYPE_FP32", (-1, -1))], own)
    with pytest.raises(ModelRefused, match=text):
        check_tensors("input", declared, own)


def test_outputs_may_be_a_part() -> None:
    own = {name: Tensor(name, "TYPE_FP32", (-1, 3)) for name in ("a", "b")}
    check_tensors("output", [own["a"]], own)
    with pytest.raises(ModelRefused, match="output c"):
        check_tensors("output", [Tensor("c", "TYPE_FP32", (-1, 3))], own)


def test_the_model_file_is_the_stubs_first_argument(tmp_path: Path) -> None:
    cmdline = tmp_path / "cmdline"
    cmdline.write_bytes(b"stub\0/repository/m/3/model.onnx\0region\0")
    assert model_file(cmdline) == Path("/repository/m/3/model.onnx")
