"""Who sends which picture when: all clients and processes go round the same ones, each from another start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def groups(items: Sequence[Item], batch: int, first: int = 0) -> list[list[Item]]:
    """One group of ``batch`` for every item, headed by it and filled with those that follow, beginning with item
    ``first``; so every item is used equally often, whatever the batch."""
    count = len(items)
    return [[items[(first + start + step) % count] for step in range(batch)] for start in range(count)]
