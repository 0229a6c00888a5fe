"""Makes TorchServe hold exactly the versions that are wanted of one model, while what served before goes on serving.

Versions lie side by side, so a new one never touches an old one. One that is wanted no more is ended a little later:
TorchServe drops what an ended version still has in work (0.12), so it is asked whether there is any, and the edge
needs a moment to send it nothing more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from serving.edge.process import EdgeConfig
from serving.json_log import ComponentLog
from serving.torchserve.archive import Archives
from serving.torchserve.management import ManagementClient, WorkerInfo
from slipway.errors import ServerUnavailable, SlipwayError, VersionLoadFailed

#: How long an unwanted version stays, and how long at most while it has requests: by then the edge has given up those
#: that it sent before it turned away; seconds.
_RETIRE_SECONDS = 5.0
_RETIRE_AT_LAST = _RETIRE_SECONDS + EdgeConfig.request_timeout
_LOOK_SECONDS = 1.0
Reason = Callable[[str, int], str | None]


class TorchServeLoader:
    """One per TorchServe process. Loading happens on one thread; ``reap_orphans`` and ``mark_stale`` on others."""

    #: TorchServe replaces its dead workers itself, and ends in time all the same.
    replaced = False

    def __init__(
        self,
        client: ManagementClient,
        archives: Archives,
        log: ComponentLog,
        timeout: float,
        reason: Reason = lambda model, version: None,
    ) -> None:
        """``timeout``: of one version's load, seconds. ``reason``: why a handler could not start, where it said so."""
        self._client, self._archives, self._log, self._timeout, self._reason = client, archives, log, timeout, reason
        self._lock = threading.RLock()
        #: Held while a version is ended, and while it is seen which there are and which of them are to stay after all.
        self._ending = threading.Lock()
        self._loaded: dict[str, set[int]] = {}
        self._stale: set[str] = set()
        self._retiring: dict[tuple[str, int], float] = {}
        self._defaults: dict[str, int] = {}
        self._look_at = 0.0
        archives.sweep()

    @property
    def models(self) -> list[str]:
        """Models of which something is loaded."""
        with self._lock:
            return sorted(model for model, versions in self._loaded.items() if versions)

    def stubs(self) -> list[WorkerInfo]:
        """Processes that the supervisor must replace: none, see ``workers``."""
        return []

    def workers(self) -> list[WorkerInfo]:
        """The processes of every loaded version, as TorchServe sees them, without those that retire.

        Raises ServerUnavailable."""
        with self._lock:
            loaded = {model: set(versions) for model, versions in self._loaded.items()}
        return [
            worker
            for model, versions in sorted(loaded.items())
            for found in self._client.describe(model)
            if found.version in versions
            for worker in found.workers
        ]

    def mark_stale(self, model: str) -> None:
        """The workers of this model are to be made anew, although nothing changed in the repository."""
        with self._lock:
            if model in self._loaded:
                self._stale.add(model)

    def count_auto(self, model: str, called: bool) -> None:
        """Networks are no models of their own here: nothing to count."""

    def is_current(self, model: str, versions: Sequence[int]) -> bool:
        """Whether exactly these versions serve, those that retire left aside."""
        with self._lock:
            return model not in self._stale and self._loaded.get(model, set()) == set(versions)

    def apply(self, model: str, versions: Sequence[int]) -> dict[int, VersionLoadFailed]:
        """Loads ``versions`` (the most wanted first) and no other; the default version stays while it is among them.

        Returns those that TorchServe refuses, with reasons. Raises ServerUnavailable when it does not answer.
        """
        with self._ending:
            there = {found.version for found in self._client.describe(model)}
            with self._lock:
                for version in versions:
                    self._retiring.pop((model, version), None)
                stale = model in self._stale
                self._stale.discard(model)
        failed: dict[int, VersionLoadFailed] = {}
        for version in versions:
            try:
                self._bring(model, version, version in there, stale)
            except VersionLoadFailed as problem:
                failed[version] = problem
        good = [version for version in versions if version not in failed]
        if good and self._defaults.get(model) not in good:
            self.route(model, good[0])
        self._retire(model, (there | set(versions)) - set(good) - failed.keys(), set(good))
        return failed

    def route(self, model: str, version: int) -> None:
        """Makes a loaded version the one that answers requests without one. Raises ServerUnavailable.

        To be called for a version that has answered right; ``apply`` only sees to it that there is one at all."""
        if self._defaults.get(model) != version:
            self._client.set_default(model, version)
            self._defaults[model] = version

    def unload(self, model: str) -> None:
        """Ends all versions of a model at once. Raises ServerUnavailable."""
        with self._ending:
            self._unregister(model, [found.version for found in self._client.describe(model)])
            with self._lock:
                self._loaded.pop(model, None)
                self._stale.discard(model)
                self._defaults.pop(model, None)
                self._retiring = {item: due for item, due in self._retiring.items() if item[0] != model}
        self._log.info("unloaded", model=model)

    def reap_orphans(self) -> None:
        """Ends the versions whose time is over and which have no request in work; cheap to call often."""
        now = time.monotonic()
        with self._lock:
            due = [item for item, since in self._retiring.items() if now - since >= _RETIRE_SECONDS]
        if not due or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        for model, version in due:
            if not self._ending.acquire(blocking=False):
                return  # the thread that loads is looking; the next call is soon
            try:
                self._end(model, version)
            except SlipwayError as problem:
                self._log.warning("a version could not be ended yet", model=model, version=version, reason=str(problem))
            finally:
                self._ending.release()

    def _bring(self, model: str, version: int, there: bool, stale: bool) -> None:
        archive = self._archives.ensure(model, version)
        workers = self._archives.workers(model)
        if there and not stale:
            return
        started = time.monotonic()
        if there:
            # its workers are made anew in place: the default version cannot be ended while others serve (0.12)
            self._client.scale(model, version, 0, self._timeout)
            self._client.scale(model, version, workers, self._timeout)
        else:
            self._register(model, version, archive.name, workers)
        with self._lock:
            self._loaded.setdefault(model, set()).add(version)
        seconds = round(time.monotonic() - started, 3)
        self._log.info("loaded", model=model, version=version, workers=workers, seconds=seconds)

    def _register(self, model: str, version: int, archive: str, workers: int) -> None:
        try:
            self._client.register(archive, workers, self._timeout)
        except VersionLoadFailed as problem:
            raise VersionLoadFailed(
                f"{model} version {version}: TorchServe refused to load it",
                observed=self._reason(model, version) or problem.observed,
                fix="the handler's own words are in the log of torchserve",
            ) from problem

    def _retire(self, model: str, unwanted: set[int], good: set[int]) -> None:
        now = time.monotonic()
        with self._lock:
            for version in unwanted:
                self._retiring.setdefault((model, version), now)
            self._loaded[model] = set(good)

    def _end(self, model: str, version: int) -> None:
        """With ``_ending`` held: whatever retires now stays so until it is ended."""
        there = next((found for found in self._client.describe(model) if found.version == version), None)
        with self._lock:
            since = self._retiring.get((model, version))
        if since is None:
            return
        if there is not None:
            if time.monotonic() - since < _RETIRE_AT_LAST and not self._client.idle(there):
                return
            self._client.unregister(model, version)
            self._archives.discard(model, version)
            self._log.info("ended a version that is wanted no more", model=model, version=version)
        with self._lock:
            self._retiring.pop((model, version), None)

    def _unregister(self, model: str, versions: Sequence[int]) -> None:
        """The default version goes last, for it cannot go before."""
        left, refused = list(versions), 0
        while left:
            version = left.pop(0)
            try:
                self._client.unregister(model, version)
                self._archives.discard(model, version)
                refused = 0
            except ServerUnavailable:
                refused += 1
                if refused > len(left) + 1:
                    raise
                left.append(version)
