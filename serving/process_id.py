"""Is that process still the one that was started? A pid alone does not say: numbers are used again."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_DEAD = ("Z", "X")


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), field 22); None when it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in _DEAD else int(fields[19])


def parent(pid: int) -> int | None:
    """The parent's pid, also of a zombie; None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def alive(pid: int, ticks: int | None) -> bool:
    """Whether ``pid`` runs and started at ``ticks``."""
    found = start_ticks(pid)
    return found is not None and found == ticks


def send(pid: int, ticks: int | None, number: signal.Signals) -> bool:
    """Signals exactly that process; False when it is already gone."""
    if not alive(pid, ticks):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the command, may hold spaces and parentheses; everything after the last one is plain.
    return text[text.rindex(")") + 2 :].split()
