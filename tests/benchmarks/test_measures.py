import math

import numpy as np
import pytest

from benchmarks.measures import Arm, Round, percentile, ratio, share_within


def made(arm="grpc", number=1, images=10, seconds=2.0, latencies=(10.0, 20.0), cpu=None, errors=None):
    cpu = cpu or {"triton": 0.1, "envoy": 0.02, "client": 0.01}
    requests = len(latencies) + sum((errors or {}).values())
    return Round(arm, number, seconds, requests, images, images / seconds, latencies, cpu, errors or {})


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("percent", [0, 50, 90, 95, 99, 100])
def test_percentile_is_numpys(size, percent):
    values = list(np.random.default_rng(size).exponential(size=size))
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_percentile_of_nothing_is_nan():
    assert math.isnan(percentile([], 50))


def test_an_arm_weighs_its_rounds_by_time():
    arm = Arm("grpc", [made(images=10, seconds=1.0), made(images=10, seconds=3.0)])
    assert arm.images_per_second == pytest.approx(5.0)
    assert (arm.images, arm.requests, arm.failures) == (20, 4, 0)
    assert arm.percentiles() == pytest.approx({"p50": 15.0, "p90": 20.0, "p95": 20.0, "p99": 20.0})


def test_cpu_is_per_image_and_component():
    arm = Arm("grpc", [made(), made()])
    assert arm.cpu_ms_per_image("triton", "envoy") == pytest.approx(12.0)
    assert arm.cpu_ms_per_image() == pytest.approx(13.0)
    assert made().cpu_ms_per_image("client") == pytest.approx(1.0)
    assert math.isnan(made(images=0).cpu_ms_per_image())


def test_failures_are_counted_with_their_texts():
    arm = Arm("http", [made(errors={"503": 2}), made(errors={"503": 1, "wrong": 1})])
    assert arm.failures == 4
    assert arm.errors == {"503": 3, "wrong": 1}


def test_ratio_is_over_all_and_by_round():
    raw = Arm("raw", [made(images=20), made(images=10)])
    found = ratio(Arm("grpc", [made(images=15), made(images=9)]), raw)
    assert found.total == pytest.approx(0.8)
    assert (found.lowest, found.highest) == (pytest.approx(0.75), pytest.approx(0.9))


@pytest.mark.parametrize(
    ("ended", "milliseconds", "share"),
    [(5.0, 1000, 1.0), (0.25, 1000, 0.25), (10.5, 1000, 0.5), (12.0, 1000, 0.0), (11.0, 12000, 10 / 12), (3.0, 0, 1.0)],
)
def test_a_request_counts_with_its_time_in_the_window(ended, milliseconds, share):
    assert share_within(ended, milliseconds, 10.0) == pytest.approx(share)
