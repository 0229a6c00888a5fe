"""A child process of the supervisor: it dies with it, its output goes to a log, and it is stopped in bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from serving import process_id
from serving.state import ProcessState
from serving.supervisor.exec_child import mortal

_TAIL_LINES = 40


class ManagedProcess:
    """Start it from the main thread only: the kernel's parent-death signal follows the thread that forked."""

    def __init__(
        self, name: str, argv: list[str], environment: dict[str, str], on_line: Callable[[str], None], folder: Path
    ) -> None:
        self.name = name
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which then stops in order.
        self._popen = subprocess.Popen(
            mortal(argv),
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.ticks = process_id.start_ticks(self._popen.pid)
        self._reader = threading.Thread(target=self._read, name=f"{name}-log", daemon=True)
        self._reader.start()
        threading.Thread(target=self._end_group, name=f"{name}-end", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id; the command's own, because the helper in between becomes it."""
        return self._popen.pid

    @property
    def state(self) -> ProcessState:
        """Pid and start, as they are written into the state file."""
        return ProcessState(self.pid, self.ticks)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._popen.poll()

    def tail(self, lines: int = 5) -> str:
        """The last lines of its output, for an error message."""
        return " | ".join(list(self._tail)[-lines:])

    def stop(self, grace: float) -> int:
        """SIGTERM, then SIGKILL after ``grace`` seconds; returns the return code."""
        if self.returncode is None:
            self._popen.terminate()
        try:
            code = self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._reader.join(timeout=1)
        return code

    def kill(self) -> int:
        """SIGKILL, and reaps it."""
        self._popen.kill()
        code = self._popen.wait()
        self._reader.join(timeout=1)
        return code

    def _end_group(self) -> None:
        """The moment the process has ended, ends what it started.

        Triton's stubs inherit the connections of its clients: while one lives after a killed Triton, requests on those
        connections hang, and new ones still go there, instead of failing over at once (2.51).
        """
        try:
            # WNOWAIT leaves the zombie for Popen, and with it the id of the group, which nobody else can have got.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            os.killpg(self.pid, signal.SIGKILL)
        except (ChildProcessError, ProcessLookupError):
            return  # reaped already, or the group is empty: nothing is left to end

    def _read(self) -> None:
        stream = self._popen.stdout
        if stream is None:
            return
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                self._tail.append(line)
                self._on_line(line)
