"""What is known of every public model's versions, and which version answers requests without one.

Written by the thread that loads, read by the thread that watches: every method takes the lock.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from serving.state import ModelState, VersionState
from serving.supervisor.desired import DesiredModel


@dataclass
class _Record:
    desired: DesiredModel
    states: dict[int, VersionState] = field(default_factory=dict)
    networks: dict[str, list[int]] = field(default_factory=dict)
    network_routes: dict[str, int] = field(default_factory=dict)
    routed: int | None = None
    answered: set[int] = field(default_factory=set)


class Board:
    """``changes`` grows with every change; compare it to know whether state and routes must be written again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[str, _Record] = {}
        self._problems: dict[str, str] = {}
        self.changes = 0

    def observe(self, desired: DesiredModel) -> None:
        """A model as the repository wants it now. A pointer that was written gives a failed version another chance."""
        with self._lock:
            record = self._records.get(desired.model)
            if record is None:
                record = self._records[desired.model] = _Record(desired)
            elif _wish(record.desired) != _wish(desired):
                self._forgive(record, desired.pointer)
            record.desired = desired
            for version in list(record.states):
                gone = version not in desired.published
                if gone or (version not in desired.active and not self._failed(record, version)):
                    del record.states[version]
            record.networks = {name: found for name, found in record.networks.items() if name in desired.networks}
            self._touch(record)

    def forgive(self, model: str, version: int) -> None:
        """A failed version is tried again."""
        with self._lock:
            if model in self._records:
                self._forgive(self._records[model], version)

    def forget(self, model: str) -> None:
        """A public model that is not in the repository any more."""
        with self._lock:
            self._problems.pop(model, None)
            if self._records.pop(model, None) is not None:
                self.changes += 1

    def problem(self, model: str, reason: str | None) -> None:
        """A model whose files cannot be understood at all; None when they can again."""
        with self._lock:
            if self._problems.get(model) != reason:
                self.changes += 1
            self._problems.pop(model, None)
            if reason is not None:
                self._problems[model] = reason

    def mark(self, model: str, version: int, state: str, reason: str | None = None) -> None:
        """The state of one version: loading, ready or failed."""
        with self._lock:
            record = self._records.get(model)
            if record is not None:
                record.states[version] = VersionState(version, state, reason)
                if state == "ready":
                    record.answered.add(version)
                self._touch(record)

    def mark_network(self, model: str, network: str, versions: tuple[int, ...]) -> None:
        """Versions of a network that answered their golden image."""
        with self._lock:
            record = self._records.get(model)
            if record is not None:
                record.networks[network] = sorted(versions)
                self._touch(record)

    def all_loading(self) -> None:
        """The engine is gone: nothing is ready. A version that failed is tried again only if it answered before."""
        with self._lock:
            for record in self._records.values():
                lost = {v: VersionState(v, "loading") for v in record.desired.active}
                hopeless = {v: s for v, s in record.states.items() if s.state == "failed" and v not in record.answered}
                record.states = lost | hopeless
                record.networks.clear()
                self._touch(record)

    def answered(self, model: str, version: int) -> bool:
        """Whether the version has ever been ready since the supervisor started."""
        with self._lock:
            return model in self._records and version in self._records[model].answered

    def reloading(self, model: str) -> int | None:
        """The pointer's version while it is loaded again: it answered before, and has not failed."""
        with self._lock:
            record = self._records.get(model)
            if record is None or record.desired.pointer not in record.answered:
                return None
            state = record.states.get(record.desired.pointer)
            return state.version if state is not None and state.state == "loading" else None

    def failed(self, model: str) -> set[int]:
        """Versions that are not tried again."""
        with self._lock:
            record = self._records.get(model)
            return {v for v in record.states if self._failed(record, v)} if record is not None else set()

    def models(self) -> list[str]:
        """Names of the public models, sorted."""
        with self._lock:
            return sorted(self._records)

    def ready_versions(self, model: str) -> tuple[int, ...]:
        """Versions whose golden prediction was right."""
        with self._lock:
            record = self._records.get(model)
            return tuple(v for v, item in record.states.items() if item.state == "ready") if record else ()

    def wanted(self) -> dict[str, tuple[int, ...]]:
        """Model -> the versions that should be loaded, the most wanted first."""
        with self._lock:
            return {name: record.desired.active for name, record in self._records.items()}

    def pointers(self) -> dict[str, int]:
        """Model -> the version that should answer requests without one."""
        with self._lock:
            return {name: record.desired.pointer for name, record in self._records.items()}

    def states(self) -> tuple[ModelState, ...]:
        """Every model as it goes into the state file."""
        with self._lock:
            return tuple(self._state(name, record) for name, record in sorted(self._records.items()))

    def all_routed(self) -> bool:
        """Whether every public model has a version that answers."""
        with self._lock:
            readable = self._problems.keys() <= self._records.keys()
            return readable and all(self._answers(record) for record in self._records.values())

    def as_wanted(self) -> bool:
        """Whether every pointer's version is the one that answers, and no active version failed."""
        with self._lock:
            return not self._problems and all(
                self._answers(record)
                and record.routed == record.desired.pointer
                and not any(self._failed(record, version) for version in record.desired.active)
                for record in self._records.values()
            )

    def default_versions(self) -> dict[str, int]:
        """Model or network -> the version of requests without one: one that answered. In a reload, the last known."""
        with self._lock:
            routes: dict[str, int] = {}
            for name, record in self._records.items():
                if record.routed is not None:
                    routes |= {name: record.routed, **record.network_routes}
            return routes

    def _touch(self, record: _Record) -> None:
        self.changes += 1
        ready = [version for version in record.desired.answering if self._is_ready(record, version)]
        if record.desired.pointer in ready:
            record.routed = record.desired.pointer
        elif record.routed not in ready and ready:
            # the pointer's version is not usable: the one that was stable before it
            record.routed = ready[0]
        elif record.routed is not None and (
            self._failed(record, record.routed) or record.routed not in record.desired.published
        ):
            record.routed = None
        self._route_networks(record)

    @staticmethod
    def _route_networks(record: _Record) -> None:
        """The routed version's networks, once they answered; until then the version that was routed before."""
        known = record.network_routes
        record.network_routes = {}
        for name, having in record.desired.networks.items():
            if record.routed is not None and record.routed in record.networks.get(name, ()):
                known[name] = record.routed
            if record.routed in having and known.get(name) in having:
                record.network_routes[name] = known[name]

    def _answers(self, record: _Record) -> bool:
        return record.routed is not None and self._is_ready(record, record.routed)

    def _forgive(self, record: _Record, version: int) -> None:
        if self._failed(record, version):
            del record.states[version]
            self.changes += 1

    @staticmethod
    def _is_ready(record: _Record, version: int) -> bool:
        state = record.states.get(version)
        return state is not None and state.state == "ready"

    @staticmethod
    def _failed(record: _Record, version: int) -> bool:
        state = record.states.get(version)
        return state is not None and state.state == "failed"

    def _state(self, name: str, record: _Record) -> ModelState:
        desired = record.desired
        unseen = {v: VersionState(v, "loading" if v in desired.active else "unloaded") for v in desired.published}
        kept = {v: s for v, s in record.states.items() if v in desired.active or s.state == "failed"}
        versions = unseen | kept
        return ModelState(
            name=name,
            routed=record.routed if self._answers(record) else None,
            pointer=desired.pointer,
            placement=desired.placement,
            versions=tuple(versions[v] for v in sorted(versions)),
            networks={network: list(found) for network, found in sorted(record.networks.items())},
            pointer_updated=desired.pointer_updated,
        )


def _wish(desired: DesiredModel) -> tuple[int, str]:
    return desired.pointer, desired.pointer_updated
