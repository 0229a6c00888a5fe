"""What any engine that was killed leaves behind on this machine: swept by the state directory that it belonged to."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from serving import process_id
from serving.torchserve import leftovers as torchserve
from serving.torchserve.server import temporary_folder
from serving.triton import leftovers as triton
from serving.triton import shared_memory
from slipway.settings import Settings


def sweep(settings: Settings) -> int:
    """Kills and removes it; returns how many processes and files there were. Only while no supervisor runs."""
    temporary = temporary_folder(settings.state_dir / "torchserve")
    found = triton.sweep(shared_memory.prefix_for(settings.state_dir)) + torchserve.sweep(temporary)
    shutil.rmtree(temporary, ignore_errors=True)
    return found + _end_database(settings.state_dir / "postgres")


def _end_database(folder: Path) -> int:
    """The embedded PostgreSQL, which outlives a controller that was killed; SIGINT is its fast shutdown."""
    try:
        pid = int((folder / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        if Path(f"/proc/{pid}/cwd").readlink() != folder.resolve():
            return 0  # the number belongs to another process by now
    except (OSError, ValueError):
        return 0
    process_id.send(pid, process_id.start_ticks(pid), signal.SIGINT)
    return 1
