"""Embeddings: length, what networks may answer, settings, and one bad image among good ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.embedding import Embedding, EmbeddingResult
from handlers.fields import pack, plain, unpack
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError, NetworkFailed
from tests.handlers.pictures import ODD, read


def of(contract: Contract, **settings: Any) -> Contract:
    handler = "handlers.embedding:Embedding"
    return replace(contract, task="embedding", labels=(), handler=handler, settings=settings)


def results(contract: Contract, outputs: np.ndarray) -> list[EmbeddingResult]:
    return Embedding(contract).results(outputs, [None] * 2, [None] * 2)  # type: ignore[list-item]


def test_vectors_have_length_one_whatever_their_size(contract: Contract) -> None:
    outputs = np.array([[3.0, 4.0], [-1e30, 1e30]], np.float32)
    first, second = results(of(contract), outputs)
    assert first.embedding.tolist() == pytest.approx([0.6, 0.8])
    assert second.embedding.tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    tiny = results(of(contract), outputs * np.float32(1e-38))[0]
    assert tiny.embedding.tolist() == pytest.approx([0.6, 0.8]), "squares of these vanish in float32"
    assert first.embedding.dtype == np.float32


def test_none_leaves_them(contract: Contract) -> None:
    outputs = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert np.array_equal([r.embedding for r in results(of(contract, normalise="none"), outputs)], outputs)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (np.array([[1.0, 2.0], [0.0, 0.0]], np.float32), "an embedding is zero"),
        (np.array([[1.0, 2.0], [0.0, np.nan]], np.float32), "NaN or infinite"),
        (np.ones((2, 2, 1), np.float32), "does not fit"),
        (np.ones((1, 2), np.float32), "does not fit"),
        (np.ones((2, 0), np.float32), "does not fit"),
        (np.ones((2, 2), np.int64), "does not fit"),
    ],
)
def test_outputs_that_are_no_embeddings_fail(contract: Contract, outputs: np.ndarray, text: str) -> None:
    with pytest.raises(NetworkFailed, match=text):
        results(of(contract), outputs)


def test_the_dimension_is_held_where_it_is_declared(contract: Contract) -> None:
    assert len(results(of(contract, dimension=2), np.ones((2, 2), np.float32))) == 2
    with pytest.raises(NetworkFailed, match=r"float\[2, 3\]"):
        results(of(contract, dimension=3), np.ones((2, 2), np.float32))


@pytest.mark.parametrize("settings", [{"normalise": "l1"}, {"dimension": -1}, {"dimension": "64"}, {"metric": "l2"}])
def test_unknown_settings_are_refused(contract: Contract, settings: dict[str, Any]) -> None:
    with pytest.raises(ContractInvalid):
        Embedding(of(contract, **settings))


def test_a_bad_image_costs_the_others_nothing_and_tensors_become_json(contract: Contract, onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    pipeline = Pipeline(of(contract), open_network(onnx_file))
    good, bad, other = pipeline.run([read(ODD[0]), b"junk", read(ODD[1])])
    assert isinstance(bad, ImageError)
    fields = pipeline.task.fields
    records = [good.record(), None, other.record()]  # type: ignore[union-attr]
    tensors = pack(fields, records, pipeline.task.width(None))
    assert tensors["embedding"].shape == (3, 5) and np.isnan(tensors["embedding"][1]).all()
    assert np.linalg.norm(tensors["embedding"][[0, 2]], axis=1) == pytest.approx(1, abs=1e-6)
    assert unpack(fields, tensors)[2] == plain(fields, records[2])  # type: ignore[arg-type]
