"""What a TorchServe that was killed leaves behind: workers that wait for it, known by their socket in its TMPDIR."""

from __future__ import annotations

import signal
from pathlib import Path

from serving import process_id

_WORKER = b"model_service_worker.py"


def workers(temporary: Path) -> list[int]:
    """Pids of the workers whose socket lies in ``temporary`` (TorchServe 0.12: ``--sock-name <dir>/.ts.sock.<n>``)."""
    mark = f"{temporary}/.ts.sock.".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(item.endswith(_WORKER) for item in arguments) and any(item.startswith(mark) for item in arguments):
            found.append(int(entry.name))
    return found


def sweep(temporary: Path) -> int:
    """Kills those workers and returns how many there were. Only while no such TorchServe runs."""
    left = workers(temporary)
    for pid in left:
        process_id.send(pid, process_id.start_ticks(pid), signal.SIGKILL)
    return len(left)
