"""Records from a reply's tensors alone are those that its contract's fields give."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.fields import COUNT, Field, pack, unpack
from serving.client.tensors import column, error_texts, records

BOXES = (
    Field("boxes", "float32", (4,), each=True),
    Field("scores", "float32", each=True),
    Field("labels", "string", each=True),
    COUNT,
)
TASKS = {
    "classification": (
        (Field("labels", "string", each=True), Field("scores", "float32", each=True)),
        [{"labels": ["a", "b"], "scores": [0.75, 0.25]}, {"labels": ["b"], "scores": [1.0]}],
    ),
    "detection": (
        BOXES,
        [
            {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "scores": [0.5, 0.25], "labels": ["a", "b"]},
            {"boxes": [], "scores": [], "labels": []},
        ],
    ),
    "faces": (
        (
            BOXES[0],
            BOXES[1],
            Field("landmarks", "float32", (5, 2), each=True),
            Field("labels", "string", each=True).prefixed("age", each=True),
            Field("scores", "float32", each=True).prefixed("age", each=True),
            Field("embedding", "float32", (-1,)).prefixed("identity", each=True),
            COUNT,
        ),
        [
            {
                "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]],
                "scores": [0.5, 0.25],
                "landmarks": np.arange(20, dtype=np.float32).reshape(2, 5, 2).tolist(),
                "age.labels": [["old", "young"], ["young", "old"]],
                "age.scores": [[0.75, 0.25], [0.5, 0.5]],
                "identity.embedding": [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
            }
        ],
    ),
    "ocr": (
        (
            Field("quads", "float32", (4, 2), each=True),
            Field("texts", "string", each=True),
            Field("scores", "float32", each=True),
            COUNT,
        ),
        [{"quads": np.arange(8.0).reshape(1, 4, 2).tolist(), "texts": ["größe 12"], "scores": [0.5]}],
    ),
    "embedding": ((Field("embedding", "float32", (-1,)),), [{"embedding": [0.5, 0.25, 0.0]}]),
    "segmentation": (
        (
            Field("mask", "bytes"),
            Field("rle", "string"),
            Field("size", "int32", (2,)),
            Field("classes", "string", each=True),
            Field("shares", "float32", each=True),
            COUNT,
        ),
        [{"mask": b"\x89PNG", "rle": "", "size": [4, 6], "classes": ["road"], "shares": [0.5]}],
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_records_are_those_of_the_contracts_fields(task: str) -> None:
    fields, answers = TASKS[task]
    tensors = pack(fields, answers, 5)
    assert records(tensors) == unpack(fields, tensors)
    assert len(records(tensors)) == len(answers)


def test_items_are_cut_to_their_number() -> None:
    fields, answers = TASKS["detection"]
    two, none = records(pack(fields, answers, 100))
    assert (len(two["boxes"]), two["labels"], two["count"]) == (2, ["a", "b"], 2)
    assert none["boxes"] == [] and none["count"] == 0


def test_texts_of_errors_and_the_input() -> None:
    tensors = {"errors": np.array([[b"IMAGE_EMPTY: no bytes"], [b""]], object)}
    assert error_texts(tensors, 2) == ["IMAGE_EMPTY: no bytes", ""]
    assert error_texts({}, 2) == ["", ""]
    assert column([b"a", b"bc"]).tolist() == [[b"a"], [b"bc"]]
