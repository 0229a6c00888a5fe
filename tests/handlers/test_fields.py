"""Answers as tensors and back: padding, counts, text, failed images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from handlers.fields import COUNT, Field, pack, plain, unpack

BOXES = (
    Field("boxes", "float32", (4,), each=True),
    Field("labels", "string", each=True),
    Field("scores", "float32", each=True),
    COUNT,
)
TWO = {"boxes": np.arange(8, dtype=np.float32).reshape(2, 4), "labels": ("sieben", "größe"), "scores": [0.5, 0.25]}
NONE = {"boxes": np.zeros((0, 4), np.float32), "labels": [], "scores": []}


def test_found_items_are_padded_and_counted() -> None:
    tensors = pack(BOXES, [TWO, None, NONE], 3)
    assert {name: (array.dtype, array.shape) for name, array in tensors.items()} == {
        "boxes": (np.dtype(np.float32), (3, 3, 4)),
        "labels": (np.dtype(object), (3, 3)),
        "scores": (np.dtype(np.float32), (3, 3)),
        "count": (np.dtype(np.int32), (3, 1)),
    }
    assert tensors["count"].tolist() == [[2], [0], [0]]
    assert np.isnan(tensors["boxes"][0, 2]).all() and tensors["labels"][0].tolist() == ["sieben", "größe", ""]


def test_what_was_packed_comes_back_as_json() -> None:
    tensors = pack(BOXES, [TWO, NONE], 5)
    tensors["labels"] = np.vectorize(lambda text: text.encode())(tensors["labels"]).astype(object)  # as Triton hands it
    both = unpack(BOXES, tensors)
    assert both == [plain(BOXES, TWO), plain(BOXES, NONE)] == json.loads(json.dumps(both))
    assert both[0]["labels"] == ["sieben", "größe"] and both[1] == {"boxes": [], "labels": [], "scores": [], "count": 0}


def test_without_a_count_items_end_at_nan() -> None:
    fields = (Field("labels", "string", each=True), Field("scores", "float32", each=True))
    tensors = pack(fields, [{"labels": ["a"], "scores": [0.5]}, None], 2)
    assert unpack(fields, tensors) == [{"labels": ["a"], "scores": [0.5]}, {"labels": [], "scores": []}]


def test_only_what_the_reply_has_is_read() -> None:
    tensors = pack(BOXES, [TWO], 2)
    del tensors["boxes"]
    assert unpack(BOXES, tensors) == [{"labels": ["sieben", "größe"], "scores": [0.5, 0.25], "count": 2}]
    assert unpack(BOXES, {}) == []


def test_vectors_numbers_and_bytes() -> None:
    fields = (Field("embedding", "float32", (-1,)), Field("size", "int32", (2,)), Field("mask", "bytes"))
    record = {"embedding": np.ones(3, np.float32), "size": (40, 30), "mask": b"\x89PNG"}
    tensors = pack(fields, [record, None], 0)
    assert [array.shape for array in tensors.values()] == [(2, 3), (2, 2), (2, 1)]
    assert tensors["mask"].tolist() == [[b"\x89PNG"], [b""]] and np.isnan(tensors["embedding"][1]).all()
    assert plain(fields, record) == {"embedding": [1.0, 1.0, 1.0], "size": [40, 30], "mask": "iVBORw=="}
    assert unpack(fields, tensors)[0] == plain(fields, record)


@pytest.mark.parametrize("field", BOXES)
def test_every_image_failed(field: Field) -> None:
    tensors = pack(BOXES, [None, None], 4)
    assert len(tensors[field.name]) == 2


def test_fields_of_an_attribute() -> None:
    top = Field("labels", "string", each=True)
    assert top.prefixed("age") == Field("age.labels", "string", each=True)
    assert top.prefixed("age", each=True) == Field("age.labels", "string", (-1,), each=True)
    vector = Field("embedding", "float32", (-1,)).prefixed("identity", each=True)
    assert vector == Field("identity.embedding", "float32", (-1,), each=True) and vector.dims == [-1, -1]
    fields = (vector, Field("age.labels", "string", (-1,), each=True), COUNT)
    record = {"identity.embedding": np.eye(2, 3), "age.labels": [["young", "old"], ["old", "young"]]}
    assert unpack(fields, pack(fields, [record], 4)) == [plain(fields, record)]
