"""The loading thread: runs reconcile passes and golden probes, so that the watching thread never waits for a load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from serving.json_log import ComponentLog
from serving.supervisor.reconcile import Reconciler
from slipway.errors import SlipwayError

_RETRY_SECONDS = 0.5
_PROBE_SECONDS = 10.0


class Worker:
    """One per process of the engine. ``request`` asks for a pass; passes never overlap; one that failed is repeated.

    ``settled``: at least one whole pass went through. ``failures``: passes in a row that did not; probes count too.
    """

    def __init__(self, reconciler: Reconciler, log: ComponentLog) -> None:
        self._reconciler, self._log = reconciler, log
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self.settled = False
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self) -> None:
        """Begins with a pass."""
        self._wake.set()
        self._thread.start()

    def request(self) -> None:
        """Something changed: a pass as soon as the present one is over."""
        self._wake.set()

    def stop(self, timeout: float) -> bool:
        """No more passes; waits for the present one. False when it still runs after ``timeout`` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        probe_at = time.monotonic() + _PROBE_SECONDS
        while not self._stopping.is_set():
            wanted = self._wake.wait(_RETRY_SECONDS) or self._reconciler.due()
            if self._stopping.is_set():
                return
            if wanted:
                self._wake.clear()
                self.settled = self._attempt("reconcile", self._reconciler.run) or self.settled
            elif time.monotonic() >= probe_at:
                self._attempt("probe", self._probe)
                probe_at = time.monotonic() + _PROBE_SECONDS

    def _probe(self) -> None:
        if self._reconciler.probe():
            self._wake.set()

    def _attempt(self, name: str, job: Callable[[], None]) -> bool:
        try:
            job()
        except SlipwayError as problem:
            self.failures += 1
            self._log.warning(f"{name} will be repeated", reason=str(problem), failures=self.failures)
        except Exception:
            # A defect of ours must not end healing for good; it is logged whole, and counted.
            self.failures += 1
            self._log.exception(f"{name} failed")
        else:
            self.failures = 0
            return True
        self._stopping.wait(_RETRY_SECONDS)
        self._wake.set()
        return False
