from collections import Counter

import pytest

from benchmarks.rotation import groups


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_every_item_is_used_equally_often(batch):
    made = groups("abc", batch)
    assert [group[0] for group in made] == ["a", "b", "c"]
    assert set(Counter(item for group in made for item in group).values()) == {batch}


def test_first_moves_the_start():
    assert groups([1, 2, 3], 2, first=1) == [[2, 3], [3, 1], [1, 2]]
