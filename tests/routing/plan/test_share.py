"""Shares as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.plan.share import buckets, parse_share, show_share
from slipway.experiment import BUCKETS


@pytest.mark.parametrize(
    ("written", "share"),
    [("10%", 0.1), (0.1, 0.1), ("0.1", 0.1), (1.0, 1.0), ("100%", 1.0), (0, 0.0), ("0.25 %", 0.0025), (" 5% ", 0.05)],
)
def test_what_is_understood(written: object, share: float) -> None:
    assert parse_share(written) == share


@pytest.mark.parametrize(
    "written", [1, 10, "10", True, None, "ten", "%", "-1%", "101%", 1.5, "nan", "inf%", 0.00001, [1]]
)
def test_what_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_share(written)


@given(st.integers(0, BUCKETS))
def test_every_bucket_can_be_written_and_read_back(number: int) -> None:
    share = parse_share(f"{number / 100}%")
    assert buckets(share) == number
    assert parse_share(share) == share
    assert parse_share(show_share(share)) == pytest.approx(share, abs=1e-4)
