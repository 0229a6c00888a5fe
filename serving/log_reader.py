"""The newest lines of all structured logs, merged in the order of time, for `slipway logs`."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SUFFIX = ".jsonl"


def newest(folder: Path, lines: int, component: str | None = None) -> list[str]:
    """At most ``lines`` JSON lines of ``<component>.jsonl`` in ``folder``, or of every component, oldest first."""
    paths = [folder / f"{component}{_SUFFIX}"] if component else sorted(folder.glob(f"*{_SUFFIX}"))
    found = [entry for path in paths for entry in _tail(path, lines)]
    found.sort(key=lambda entry: entry[0])
    return [text for _, text in found[-lines:]]


def _tail(path: Path, lines: int) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        for text in deque(stream, maxlen=lines):
            values = _parse(text)
            if values is not None:
                # ISO 8601 with `Z` and with `+00:00` sort alike up to the milliseconds, which is what counts here
                yield str(values.get("time", ""))[:23], text.rstrip("\n")


def _parse(text: str) -> dict[str, Any] | None:
    """None for a line that is still being written."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
