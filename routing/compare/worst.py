"""The worst disagreements of an experiment, with their images: a small folder of its own that outlives the notes.

```
<state_dir>/routing/worst/<experiment>/
  worst.json             what is kept, the worst first; replaced by atomic rename
  <name>-<index>         encoded images, as handlers have recorded them, where images are recorded at all
```
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handlers.recording.images import image_name
from slipway.files import write_atomically

#: How many are kept of each version that was compared, and bytes of all their images.
MOST, MOST_BYTES = 12, 64 << 20
_FILE = "worst.json"


def _file_name(experiment: str) -> str:
    """Ids are made by people: no way out of the folder."""
    return re.sub(r"[^\w.-]", "_", experiment).strip(".") or "_"


@dataclass(frozen=True)
class Kept:
    """One disagreement. ``left``, ``right``: what the stable version and ``version`` answered. ``distance``: 0..1.
    ``time``: seconds since 1970. ``image``: path of the encoded image, None where none is kept."""

    request_id: str
    index: int
    version: int
    task: str
    time: float
    distance: float
    left: dict[str, Any]
    right: dict[str, Any]
    image: Path | None = None


class Worst:
    """What is kept of one experiment. A new object goes on with what an earlier one has kept."""

    def __init__(self, state_dir: Path, experiment: str, most: int = MOST) -> None:
        """``most``: how many are kept of each version."""
        self._folder = _root(state_dir) / _file_name(experiment)
        self._images = state_dir / "predictions" / "images"
        self._most = most

    def add(self, found: Sequence[Kept]) -> None:
        """Takes what is worse than the best that is kept, with copies of their images; the rest is removed. Where two
        are equally far apart, the one that was there first stays. Raises OSError."""
        before = self._notes()
        known: dict[tuple[str, int, int], Kept] = {}
        for item in (*before, *found):
            if math.isfinite(item.distance):
                known.setdefault((item.request_id, item.index, item.version), item)
        kept = list(_first(sorted(known.values(), key=lambda item: -item.distance), self._most))
        if kept != before:
            self._replace(kept)

    def entries(self) -> list[Kept]:
        """What is kept, the worst first; nothing where the file cannot be read."""
        return [replace(item, image=self._image(item)) for item in self._notes()]

    def keep(self, wanted: Callable[[Kept], bool]) -> None:
        """Removes everything else, and the folder with the last of it. Raises OSError."""
        before = self._notes()
        kept = [item for item in before if wanted(item)]
        if not kept:
            shutil.rmtree(self._folder)
        elif kept != before:
            self._replace(kept)

    def _notes(self) -> list[Kept]:
        try:
            rows = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
            return [Kept(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []

    def _replace(self, kept: Sequence[Kept]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = self._copied([image_name(item.request_id, item.index) for item in kept])
        rows = [{**asdict(item), "image": None} for item in kept]
        write_atomically(self._folder / _FILE, json.dumps(rows), mode=0o600)
        self._prune(names)

    def _copied(self, names: Sequence[str]) -> set[str]:
        """Those whose images are here, or are now, within MOST_BYTES in all."""
        found, room = set(), MOST_BYTES
        for name in dict.fromkeys(names):
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


def forget(state_dir: Path, before: float) -> None:
    """Removes what is of before ``before`` (seconds since 1970) of every experiment. Raises OSError."""
    root = _root(state_dir)
    for folder in root.iterdir() if root.is_dir() else ():
        Worst(state_dir, folder.name).keep(lambda item: item.time >= before)


def _root(state_dir: Path) -> Path:
    return state_dir / "routing" / "worst"


def _first(items: Iterable[Kept], most: int) -> Iterable[Kept]:
    """Of each version the first ``most``."""
    seen: Counter[int] = Counter()
    for item in items:
        seen[item.version] += 1
        if seen[item.version] <= most:
            yield item
