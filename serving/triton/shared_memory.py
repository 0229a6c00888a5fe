"""The python backend's files in /dev/shm: named with our own prefix, so that only ours are ever swept.

Triton removes them when it ends by itself, and leaves them after an abort or after a stub was killed (2.51).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's place for POSIX shared memory


def prefix_for(state_dir: Path) -> str:
    """A prefix that belongs to one state directory: two projects on one machine never sweep each other's files."""
    return f"slipway-{hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:10]}-"


def leftovers(prefix: str, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Files in ``folder`` that start with ``prefix``."""
    return sorted(folder.glob(f"{prefix}*")) if folder.is_dir() else []


def sweep(prefix: str, folder: Path = SHARED_MEMORY) -> int:
    """Removes those files and returns how many; call it only while no Triton with this prefix runs."""
    found = leftovers(prefix, folder)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
