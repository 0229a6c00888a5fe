"""Assignment in Python; that the edge decides the same is held in tests/serving/edge/test_experiments.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.assignment import assign, finalised, fnv1a, hash32
from slipway.experiment import Arm, Experiment, Layer

CANARY = Experiment("echo", "echo-1", "salt-1", stable=1, arms=(Arm(2, 0, 1000),))


@pytest.mark.parametrize(("text", "value"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_fnv1a_as_published(text: bytes, value: int) -> None:
    assert fnv1a(text) == value


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0x514E28B7)])
def test_the_finaliser_as_published(before: int, after: int) -> None:
    assert finalised(before) == after


def test_neighbouring_texts_fill_the_buckets_evenly() -> None:
    counts = [0] * 100
    for n in range(100_000):
        counts[hash32(f"user-{n}".encode()) % 10_000 // 100] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts)
    assert chi_square < 148  # 99.9% of chi-square with 99 degrees of freedom


def test_the_split_is_the_declared_one_over_100_000_units() -> None:
    experiment = replace(CANARY, arms=(Arm(2, 0, 1000),))
    seen = sum(assign(experiment, f"user-{n}").version == 2 for n in range(100_000))
    assert abs(seen - 10_000) <= 3 * (100_000 * 0.1 * 0.9) ** 0.5


def test_what_counts_of_a_unit_is_the_same_for_its_hash_and_the_allow_list() -> None:
    """HTTP takes the blanks around a header's value away, and the edge cuts it at 256 bytes."""
    long = "v" * 256
    experiment = replace(CANARY, allow={"vip": 3, long: 3, long + "w": 2})
    for unit in (" vip", "vip\t ", long, long + "w", " " + long + " x"):
        assert assign(experiment, unit).version == 3, unit
    for one, other in ((" lead", "lead"), ("a b ", "a b"), ("ü" * 128 + "x", "ü" * 128)):
        assert assign(CANARY, one) == assign(CANARY, other)
    assert assign(CANARY, "a b").unit_hash != assign(CANARY, "ab").unit_hash


def test_experiments_of_one_layer_share_nobody() -> None:
    left = replace(CANARY, salt="left", layer=Layer("home", 0, 5000))
    right = replace(CANARY, salt="right", layer=Layer("home", 5000, 5000))
    whys = [(assign(left, f"u{n}").why, assign(right, f"u{n}").why) for n in range(2000)]
    assert all((a == "layer") != (b == "layer") for a, b in whys)


def test_experiments_without_a_layer_overlap_independently() -> None:
    other = replace(CANARY, salt="another", arms=(Arm(2, 0, 5000),))
    half = replace(CANARY, arms=(Arm(2, 0, 5000),))
    both = sum(assign(half, f"u{n}").version == assign(other, f"u{n}").version == 2 for n in range(10_000))
    assert abs(both - 2500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5
