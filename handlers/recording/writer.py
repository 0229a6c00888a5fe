"""Takes notes from the thread that answers, and writes them from one of its own; what does not fit is counted."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from handlers.log import json_logger
from handlers.recording.encode import encoded
from handlers.recording.files import LineFile
from handlers.recording.images import ImageFolder

#: Notes that wait, and bytes of the images among them, which are held as they came.
MOST_WAITING = 1024
MOST_IMAGE_BYTES = 16 << 20
#: Seconds that a note may wait for others. A thread that woke for every one would take the interpreter's lock from the
#: one that answers, which then waits for its turn.
GATHER = 0.1
#: Seconds between two lines of the log about notes that could not be written.
_QUIET = 600.0

_Note = tuple[dict[str, Any], "bytes | None"]


class Writer:
    """``put`` never waits and never raises. One line ``{"dropped": n}`` tells of ``n`` notes that were lost before."""

    def __init__(self, folder: Path) -> None:
        self._lines, self._images = LineFile(folder), ImageFolder(folder / "images")
        self._waiting: deque[_Note] = deque()
        self._image_bytes, self._dropped, self._taken, self._written = 0, 0, 0, 0
        self._changed = threading.Condition()
        self._there, self._hurry = threading.Event(), threading.Event()
        self._closed, self._quiet_until = False, 0.0
        self._thread = threading.Thread(target=self._run, name="slipway-predictions", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def put(self, line: dict[str, Any], image: bytes | None = None) -> None:
        """Queues a note. An image that there is no room for is left out, and its note kept."""
        with self._changed:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
                return
            if image is not None and self._image_bytes + len(image) > MOST_IMAGE_BYTES:
                image = None
            self._image_bytes += len(image or b"")
            self._taken += 1
            self._waiting.append((line, image))
        self._there.set()

    def flush(self, seconds: float = 2.0) -> bool:
        """Waits until everything that was put before is written or lost; False where that takes longer."""
        deadline = time.monotonic() + seconds
        with self._changed:
            wanted = self._taken
            while self._written < wanted:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._hurry.set()
                self._there.set()
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """Writes what is queued, within two seconds, and takes no more."""
        with self._changed:
            self._closed = True
        self._hurry.set()
        self._there.set()
        self._thread.join(2.0)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while not (self._closed and not self._waiting):
            self._there.wait()
            if not self._closed:
                self._hurry.wait(GATHER)
            self._there.clear()
            self._hurry.clear()
            self._turn()

    def _turn(self) -> None:
        with self._changed:
            notes, self._waiting = self._waiting, deque()
            dropped, self._dropped, self._image_bytes = self._dropped, 0, 0
        lost = dropped + len(notes)
        try:
            lost = self._write(notes, dropped)
        except Exception as error:  # of the disk, mostly: it costs notes only
            self._tell(error)
        with self._changed:
            self._dropped += lost
            self._written += len(notes)
            self._changed.notify_all()

    def _write(self, notes: deque[_Note], dropped: int) -> int:
        """How many notes could not be written as JSON. Raises OSError."""
        lines = [encoded({"dropped": dropped})] if dropped else []
        lost = 0
        for line, image in notes:
            try:
                lines.append(encoded(line))
            except (TypeError, ValueError, RecursionError):
                lost += 1
                continue
            if image is not None:
                self._keep(line, image)
        if lines:
            self._lines.append(lines)
        return lost

    def _keep(self, line: dict[str, Any], image: bytes) -> None:
        """Before its line is written, so that it is there when the line is. Its note is kept without it, too."""
        try:
            self._images.keep(str(line["request_id"]), int(line["index"]), image)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        """One line of the log now and then: a full disk stays full for a while."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET
            fields = {"error": repr(error)[:300]}
            json_logger("slipway.handlers").warning("predictions are not recorded", extra={"fields": fields})
