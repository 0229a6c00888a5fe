"""What any engine that was killed leaves behind on this machine: swept by the state directory that it belonged to."""

from __future__ import annotations

import shutil

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
    return found
