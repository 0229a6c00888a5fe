"""The user's own Python: callables that a specification names, installed or below the project's root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """Puts ``root`` last on the import path while user code is imported: it can add packages, never replace one."""
    sys.path.append(str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
