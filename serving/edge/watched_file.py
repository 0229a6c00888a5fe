"""Files that Envoy watches: replaced in one step, so that it sees one event."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def digest(content: Any) -> str:
    """Tells one content from another: the ``version_info`` that Envoy says which it has taken by."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def replace_watched(target: Path, outside: Path, content: dict[str, Any]) -> None:
    """Replaces ``target`` by rename. ``outside``: a folder of the same file system that Envoy does not watch."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{target.stem}-", suffix=".json", dir=outside)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(target)
