"""The ceiling, with real processes over a small real network."""

import sys
from pathlib import Path

import pytest

from benchmarks.raw import RawPool
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import BenchmarkFailed

PYTHON = Path(sys.executable)


def test_processes_measure_and_agree_with_the_pipeline(small):
    pipeline = Pipeline(Contract.read(small.contract), open_network(small.network))
    images = [path.read_bytes() for path in sorted(small.images.iterdir())]
    with RawPool(PYTHON, small.contract, small.network, small.images, batch=3, processes=2) as pool:
        first, second = pool.measure(0.3), pool.measure(0.3)
        expected = pool.expected
    best = [(result.labels[0], float(result.scores[0])) for result in pipeline.run(images)]
    assert [(item.label, item.score) for item in expected] == [(label, pytest.approx(score)) for label, score in best]
    for result in (first, second):
        assert result.images == 3 * len(result.latencies) > 0
        assert result.images_per_second == pytest.approx(result.images / 0.3, rel=0.5)
        assert 0 < result.cpu_seconds < 2 * 2.0


def test_a_network_that_cannot_be_opened_is_a_failed_benchmark(small, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no network")
    with (
        pytest.raises(BenchmarkFailed, match="NETWORK_UNREADABLE"),
        RawPool(PYTHON, small.contract, broken, small.images, batch=1, processes=2),
    ):
        pass


def test_a_killed_process_is_a_failed_benchmark(small):
    with RawPool(PYTHON, small.contract, small.network, small.images, batch=1, processes=1) as pool:
        pool._workers[0].kill()
        pool._workers[0].wait()
        with pytest.raises(BenchmarkFailed, match="cannot run outside the server"):
            pool.measure(0.1)
