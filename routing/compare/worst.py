"""The worst disagreements of an experiment, with their images: a small folder of its own that outlives the notes.

```
<state_dir>/routing/<experiment>/worst/
  worst.json             what is kept, the worst first; replaced by atomic rename
  <name>-<index>         encoded images, as handlers have recorded them, where images are recorded at all
```
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handlers.recording.images import image_name
from slipway.files import write_atomically

#: How many are kept, and bytes of their images.
MOST, MOST_BYTES = 20, 64 << 20
_FILE = "worst.json"


def _file_name(experiment: str) -> str:
    """Ids are made by people: no way out of the folder."""
    return re.sub(r"[^\w.-]", "_", experiment).strip(".") or "_"


@dataclass(frozen=True)
class Kept:
    """One disagreement. ``left``, ``right``: the versions' summaries, None where one failed. ``distance``: 0..1.
    ``image``: path of the encoded image, None where none is kept."""

    request_id: str
    index: int
    task: str
    distance: float
    left: dict[str, Any] | None
    right: dict[str, Any] | None
    detail: dict[str, Any]
    image: Path | None = None


class Worst:
    """What is kept of one experiment. A new object goes on with what an earlier one has kept."""

    def __init__(self, state_dir: Path, experiment: str, most: int = MOST) -> None:
        """``most``: how many are kept."""
        self._folder = state_dir / "routing" / _file_name(experiment) / "worst"
        self._images = state_dir / "predictions" / "images"
        self._most = most

    def add(self, found: Sequence[Kept]) -> None:
        """Takes what is worse than the best that is kept, with copies of their images; the rest is removed. Where two
        are equally far apart, the one that was there first stays. Raises OSError."""
        known: dict[tuple[str, int], Kept] = {}
        for item in (*self.entries(), *found):
            if math.isfinite(item.distance):
                known.setdefault((item.request_id, item.index), item)
        kept = sorted(known.values(), key=lambda item: -item.distance)[: self._most]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = self._copied([image_name(item.request_id, item.index) for item in kept])
        rows = [{**asdict(item), "image": None} for item in kept]
        write_atomically(self._folder / _FILE, json.dumps(rows), mode=0o600)
        self._prune(names)

    def entries(self) -> list[Kept]:
        """What is kept, the worst first; nothing where the file cannot be read."""
        try:
            rows = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
            found = [Kept(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []
        return [Kept(**{**asdict(item), "image": self._image(item)}) for item in found]

    def _copied(self, names: Sequence[str]) -> set[str]:
        """Those whose images are here, or are now, within MOST_BYTES in all."""
        found, room = set(), MOST_BYTES
        for name in names:
            with suppress(OSError):  # gone already: handlers keep the newest only
                size = self._copy(name, room)
                if size <= room:
                    found.add(name)
                    room -= size
        return found

    def _copy(self, name: str, room: int) -> int:
        """Bytes of the image; it is copied if it fits. Raises OSError where there is none."""
        target, source = self._folder / name, self._images / name
        if target.exists():
            return target.stat().st_size
        size = source.stat().st_size
        if size <= room:
            shutil.copyfile(source, target.with_suffix(".part"))
            target.with_suffix(".part").replace(target)
        return size

    def _image(self, item: Kept) -> Path | None:
        path = self._folder / image_name(item.request_id, item.index)
        return path if path.is_file() else None

    def _prune(self, names: set[str]) -> None:
        for path in self._folder.iterdir():
            if path.name not in names | {_FILE}:
                path.unlink(missing_ok=True)
