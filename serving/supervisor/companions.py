"""Processes beside the servers that others ask to be kept alive: ``<state_dir>/companions/<name>.json``.

``{"argv": [...], "env": {...}}``: started in the state directory, started again when it dies, stopped when its file
goes. They hold no traffic: while one is down, requests flow on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from serving.json_log import ComponentLog
from serving.supervisor.backoff import Backoff
from serving.supervisor.process import ManagedProcess

_GRACE = 10.0


@dataclass
class _Companion:
    backoff: Backoff = field(default_factory=Backoff)
    process: ManagedProcess | None = None
    #: when its file had last been written as it was started
    written: float = 0.0


class Companions:
    """Call ``tick`` and ``stop`` from the main thread: children die with the thread that forked them."""

    def __init__(self, folder: Path, log: ComponentLog) -> None:
        self._folder, self._log = folder, log
        self._known: dict[str, _Companion] = {}

    def tick(self) -> None:
        """Starts what is asked for and does not run, stops what is asked for no more."""
        wanted = {path.stem: path for path in self._folder.glob("[a-z]*.json")}
        for name in [name for name in self._known if name not in wanted]:
            self._stop(name, self._known.pop(name))
        for name, path in wanted.items():
            companion = self._known.setdefault(name, _Companion())
            if companion.process is None or companion.process.returncode is not None:
                self._start(name, path, companion)

    def stop(self) -> None:
        """Ends all of them; their files stay, for the next start."""
        for name, companion in self._known.items():
            self._stop(name, companion)
        self._known.clear()

    def _start(self, name: str, path: Path, companion: _Companion) -> None:
        if self._done(path, companion) or not companion.backoff.may_start():
            return
        try:
            companion.written = path.stat().st_mtime
            asked = json.loads(path.read_text(encoding="utf-8"))
            argv, environment = [str(part) for part in asked["argv"]], os.environ | asked.get("env", {})
        except (OSError, ValueError, KeyError, TypeError) as problem:
            companion.backoff.record()
            self._log.error("a companion cannot be read", companion=name, reason=repr(problem))
            return
        companion.backoff.record()
        before = companion.process
        companion.process = ManagedProcess(
            name, argv, environment, lambda line: self._line(name, line), path.parent.parent
        )
        code = before.returncode if before is not None else None
        self._log.info("companion started", companion=name, pid=companion.process.pid, returncode_before=code)

    @staticmethod
    def _done(path: Path, companion: _Companion) -> bool:
        """Whether it ended well, and its file is the one that it was started by: it had nothing more to do."""
        if companion.process is None or companion.process.returncode != 0:
            return False
        return not path.exists() or path.stat().st_mtime <= companion.written

    def _stop(self, name: str, companion: _Companion) -> None:
        if companion.process is not None and companion.process.returncode is None:
            self._log.info("companion stopped", companion=name, returncode=companion.process.stop(_GRACE))

    def _line(self, name: str, line: str) -> None:
        self._log.warning(line, companion=name)
