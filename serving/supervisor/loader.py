"""Makes Triton hold exactly the versions that are wanted of one model, while what served before goes on serving."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serving import process_id
from serving.json_log import ComponentLog
from serving.supervisor.desired import config_path
from serving.supervisor.stubs import Stub, list_stubs
from serving.triton import model_config
from serving.triton.client import ControlClient
from serving.triton.model_config import usable_cores
from slipway.errors import VersionLoadFailed

#: After a reload that replaced dead instances, Triton keeps the living ones of the old set for ever (2.51): they are
#: killed this many seconds later, when their last requests have long been answered.
_ORPHAN_SECONDS = 15.0


@dataclass(frozen=True)
class Loaded:
    """What Triton holds of one model. ``stubs``: the processes of the present instances, none of the earlier ones."""

    versions: frozenset[int]
    config: bytes
    stubs: tuple[Stub, ...]
    stale: bool = False


class Loader:
    """One per Triton process. Loading happens on one thread; ``stubs`` and ``mark_stale`` may be called from others."""

    def __init__(
        self, client: ControlClient, triton_pid: int, repository: Path, log: ComponentLog, timeout: float
    ) -> None:
        self._client, self._pid, self._repository = client, triton_pid, repository
        self._log, self._timeout = log, timeout
        self._generations = itertools.count(1)
        self._auto: dict[str, int] = {}
        self._lock = threading.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._orphans: list[tuple[float, Stub]] = []
        #: Whether dead instances were replaced: this Triton will not end within its exit timeout.
        self.replaced = False

    @property
    def models(self) -> list[str]:
        """Triton models of which something is loaded."""
        return sorted(self._loaded)

    def stubs(self) -> list[Stub]:
        """The processes that should be alive now."""
        with self._lock:
            return [stub for item in self._loaded.values() if not item.stale for stub in item.stubs]

    def mark_stale(self, model: str) -> None:
        """The instances of this model are to be made anew, although nothing changed in the repository."""
        with self._lock:
            if model in self._loaded:
                self._loaded[model] = replace(self._loaded[model], stale=True)

    def count_auto(self, model: str, called: bool) -> None:
        """``instances: auto`` is a worker per core for what answers requests, one for a network at hand."""
        count = usable_cores() if called else 1
        if self._auto.get(model, count) != count:
            self.mark_stale(model)
        self._auto[model] = count

    def is_current(self, model: str, versions: Sequence[int]) -> bool:
        """Whether Triton holds exactly these versions with the config that is on the disk."""
        loaded = self._loaded.get(model)
        if loaded is None or loaded.stale or loaded.versions != set(versions):
            return False
        now: bytes = self._config(model).SerializeToString(deterministic=True)
        return loaded.config == now

    def apply(self, model: str, versions: Sequence[int]) -> dict[int, VersionLoadFailed]:
        """Loads ``versions`` (the most wanted first) and no other. Returns those that Triton refuses, with reasons.

        A load with a refused version changes nothing at all, so the versions are then tried one by one on top of
        what serves. Raises ServerUnavailable when Triton does not answer.
        """
        try:
            self._load(model, versions)
            return {}
        except VersionLoadFailed as problem:
            good = self._serving(model, versions)
            new = [version for version in versions if version not in good]
            if len(new) == 1:
                return {new[0]: problem}
        failed: dict[int, VersionLoadFailed] = {}
        for version in new:
            try:
                self._load(model, [*good, version])
                good.append(version)
            except VersionLoadFailed as problem:
                failed[version] = problem
        return failed

    def unload(self, model: str) -> None:
        """Unloads all versions of a model. Raises ServerUnavailable."""
        self._client.unload(model)
        with self._lock:
            self._loaded.pop(model, None)
        self._log.info("unloaded", model=model)

    def reap_orphans(self) -> None:
        """Kills the living siblings of replaced dead instances, once their time is over."""
        now = time.monotonic()
        for due, stub in [item for item in self._orphans if item[0] <= now]:
            self._orphans.remove((due, stub))
            if process_id.send(stub.pid, stub.ticks, signal.SIGKILL):
                self._log.info("removed a replaced instance", model=stub.model, instance=stub.instance, pid=stub.pid)

    def _serving(self, model: str, versions: Sequence[int]) -> list[int]:
        loaded = self._loaded.get(model)
        usable = loaded is not None and not loaded.stale
        return [version for version in versions if usable and loaded is not None and version in loaded.versions]

    def _load(self, model: str, versions: Sequence[int]) -> None:
        config, before = self._config(model), self._stubs_of(model)
        text = model_config.override(config, tuple(versions), next(self._generations), self._count(model))
        started = time.monotonic()
        self._client.load(model, text, self._timeout)
        seconds = round(time.monotonic() - started, 3)
        self._remember(model, versions, config, before)
        self._log.info("loaded", model=model, versions=list(versions), seconds=seconds)

    def _count(self, model: str) -> int:
        return self._auto.get(model, usable_cores())

    def _remember(self, model: str, versions: Sequence[int], config: Any, before: list[Stub]) -> None:
        known = {stub.pid for stub in before}
        stubs = tuple(stub for stub in self._stubs_of(model) if stub.pid not in known)
        per_version = sum(group.count for group in model_config.resolved(config, self._count(model)).instance_group)
        with self._lock:
            old = self._loaded.get(model)
            # fewer processes than instances: one died before it could be seen
            stale = len(stubs) < per_version * len(versions)
            mark = config.SerializeToString(deterministic=True)
            self._loaded[model] = Loaded(frozenset(versions), mark, stubs, stale)
        if old is not None and old.stale:
            self.replaced = True
            due = time.monotonic() + _ORPHAN_SECONDS
            self._orphans.extend((due, stub) for stub in before)

    def _config(self, model: str) -> Any:
        return model_config.read_config(config_path(self._repository, model))

    def _stubs_of(self, model: str) -> list[Stub]:
        return [stub for stub in list_stubs(self._pid, self._repository) if stub.model == model]
