"""The wire form of requests, good and hostile."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.wire import errors_column, images_of, parameters_of, request_id_of
from slipway.errors import ImageEmpty, RequestInvalid


def column(*images: object) -> np.ndarray:
    array = np.empty((len(images), 1), object)
    array[:, 0] = images
    return array


def test_images() -> None:
    assert images_of(column(b"a", b"", b"\x00b\x00"), 8) == [b"a", b"", b"\x00b\x00"]


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        np.array([b"a"], object),
        np.array([[b"a", b"b"]], object),
        np.empty((0, 1), object),
        column(*[b"a"] * 9),
        column("text"),
        column(b"a", 3),
        np.zeros((1, 1), np.float32),
    ],
)
def test_tensors_that_are_no_images(tensor: np.ndarray | None) -> None:
    with pytest.raises(RequestInvalid) as caught:
        images_of(tensor, 8)
    assert caught.value.expected


def test_parameters() -> None:
    assert parameters_of("") == parameters_of(None) == parameters_of("[1]") == {}
    assert parameters_of('{"top_k": 3}') == {"top_k": 3}


def test_request_id_whatever_its_case() -> None:
    assert request_id_of({"X-Request-Id": "a"}) == request_id_of({"x-request-id": "a"}) == "a"
    assert request_id_of({"top_k": 1}) is None
    assert request_id_of({"X-Request-Id": "a client's", "x-request-id": "the edge's"}) == "the edge's"


def test_errors_column() -> None:
    assert errors_column([None, ImageEmpty("no bytes")]).tolist() == [[""], ["IMAGE_EMPTY: no bytes"]]
