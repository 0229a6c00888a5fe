"""Runs torch so that the same code gives the same bytes: one thread, fixed seed, deterministic algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Inside, torch's global random state starts at ``seed``; threads, switches and state are put back after.

    One thread, because sums over threads are added in an order that their number decides. Equal bytes are promised
    for the same torch build on the same kind of CPU: another instruction set may round differently.
    """
    threads = torch.get_num_threads()
    switched = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(switched)
        torch.set_num_threads(threads)
