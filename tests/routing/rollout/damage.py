"""What may become of a rollout.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _changed(**values: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return damage


def _bytes(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def _folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


ROLLOUT_DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut": _bytes(b"{"),
    "not UTF-8": _bytes(b'{"model": "\xff"}'),
    "too deep": _bytes(b"[" * 100_000),
    "null": _bytes(b"null"),
    "a folder": _folder,
    "another model's": _changed(model="strokes"),
    "a pointer of words": _changed(pointer_before={"stable": "one", "previous": None, "highest": 3, "updated": ""}),
    "a pointer with less": _changed(pointer_before={"stable": 1}),
    "no such step": _changed(step=9),
    "no time": _changed(step_started=float("nan")),
}
