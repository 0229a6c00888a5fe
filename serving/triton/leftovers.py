"""What a Triton that was killed leaves behind: stubs that wait for it for ever, and their files in /dev/shm.

Most stubs notice within seconds that their server is gone; those that had called another model (BLS) were seen
waiting on a lock without end (2.51). Both carry our prefix, so nobody else's are touched.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from serving import process_id
from serving.triton import shared_memory
from serving.triton.environment import STUB_NAME


def stubs(prefix: str) -> list[int]:
    """Pids of the stubs whose shared memory has the prefix (the stub's second argument, python_backend 24.10)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(arguments) > 2 and Path(os.fsdecode(arguments[0])).name == STUB_NAME:
            found += [int(entry.name)] if arguments[2].startswith(prefix.encode()) else []
    return found


def sweep(prefix: str) -> int:
    """Kills those stubs and removes those files; returns how many there were. Only while no such Triton runs."""
    left = stubs(prefix)
    for pid in left:
        process_id.send(pid, process_id.start_ticks(pid), signal.SIGKILL)
    return len(left) + shared_memory.sweep(prefix)
