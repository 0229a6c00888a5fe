"""CPU time of process trees, and which processes belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds that each named tree has used so far, to the kernel's clock tick (usually 10 ms)."""
    return {name: sum(_own_cpu(process) for process in tree(pid)) for name, pid in pids.items()}


def stubs(triton_pid: int, model: str) -> Iterator[psutil.Process]:
    """The python backend's processes that serve the public ``model``: their command line names its model.py."""
    for process in tree(triton_pid)[1:]:
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words and "triton_python_backend_stub" in words[0] and any(f"/{model}/" in word for word in words[1:2]):
            yield process


def _own_cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
