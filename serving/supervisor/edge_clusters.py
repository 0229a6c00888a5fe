"""Clusters before the routes to them, and routes before their clusters go.

Envoy answers a request whose cluster is not there by 503 at once, and repeats nothing: see ``routes.py``. So a table
has only those ways whose clusters are known to be in force, and clusters stay as long as a request that was given its
way by an earlier table may still look for them: its body may take its time, and so may its tries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from serving.edge import experiment_clusters
from serving.edge.experiments import LiveExperiment
from serving.edge.fleet import HERE, Places
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.json_log import ComponentLog
from slipway.errors import ServerNotRunning

#: New clusters are waited for this long; after that they are looked at by every call.
_PATIENCE_SECONDS = 1.0
_Content = tuple[tuple[LiveExperiment, ...], Places]


class EdgeClusters:
    """What is in the clusters file, and which of it Envoy has taken."""

    def __init__(self, log: ComponentLog) -> None:
        self._log = log
        self._written: _Content = ((), {})
        self._in_force: frozenset[str] = frozenset()
        #: What was waited for last.
        self._awaited: frozenset[str] = frozenset()
        #: What left the table, until when (time.monotonic) it stays: by names of clusters; by version.
        self._left: dict[frozenset[str], tuple[float, LiveExperiment]] = {}
        self._left_places: dict[tuple[str, int], float] = {}

    def started(self, config: EdgeConfig, table: EdgeRoutes) -> None:
        """A new Envoy reads the clusters of ``table`` before it reads the table, and has no older requests."""
        self._left.clear()
        self._left_places.clear()
        self._written = (table.experiments, table.places)
        self._in_force = experiment_clusters.names(config, *self._written)

    def admit(self, config: EdgeConfig, before: EdgeRoutes, wanted: EdgeRoutes) -> EdgeRoutes:
        """Writes the clusters of ``wanted``, and returns the table that can be followed now: without experiments and
        places whose clusters Envoy has not taken yet; such a model's experiment stays as it is in ``before``. Ask again
        while it differs from ``wanted``."""
        if wanted == before and not self._expired():
            return wanted
        self._leave(config, before, wanted)
        content = self._content(wanted)
        needed = experiment_clusters.names(config, wanted.experiments, wanted.places)
        if content != self._written:
            self._write(config, content)
        if needed <= self._in_force:
            return wanted
        first, self._awaited = needed != self._awaited, needed
        if self._taken(config, _PATIENCE_SECONDS if first else 0.0):
            self._in_force = experiment_clusters.names(config, *content)
            return wanted
        if first:
            self._log.warning("the edge has not taken the clusters of versions yet; their routes wait")
        return self._possible(config, before, wanted)

    def _expired(self) -> bool:
        now = time.monotonic()
        return any(until < now for until in (*(item[0] for item in self._left.values()), *self._left_places.values()))

    def _leave(self, config: EdgeConfig, before: EdgeRoutes, wanted: EdgeRoutes) -> None:
        """Notes what the table loses, and forgets what has been gone for long enough, or is back."""
        now = time.monotonic()
        until = now + config.body_timeout + config.request_timeout
        present = experiment_clusters.names(config, wanted.experiments)
        for live in before.experiments:
            self._left[experiment_clusters.names(config, (live,))] = (until, live)
        self._left = {names: item for names, item in self._left.items() if item[0] >= now and not names <= present}
        self._left_places |= dict.fromkeys(before.places, until)
        self._left_places = {
            key: gone for key, gone in self._left_places.items() if gone >= now and key not in wanted.places
        }

    def _content(self, wanted: EdgeRoutes) -> _Content:
        """A version that is nowhere now is asked of the own engine."""
        left = (live for _, live in self._left.values())
        return (*wanted.experiments, *left), {**dict.fromkeys(self._left_places, (HERE,)), **wanted.places}

    def _write(self, config: EdgeConfig, content: _Content) -> None:
        experiment_clusters.update(config, *content)
        self._written = content
        self._in_force &= experiment_clusters.names(config, *content)

    def _taken(self, config: EdgeConfig, timeout: float) -> bool:
        experiments, places = self._written
        try:
            return experiment_clusters.wait_in_force(config, experiments, timeout, places)
        except ServerNotRunning:
            return False

    def _possible(self, config: EdgeConfig, before: EdgeRoutes, wanted: EdgeRoutes) -> EdgeRoutes:
        places = {
            key: names
            for key, names in wanted.places.items()
            if experiment_clusters.names(config, (), {key: names}) <= self._in_force
        }
        return replace(wanted, experiments=tuple(self._experiments(config, before, wanted)), places=places)

    def _experiments(self, config: EdgeConfig, before: EdgeRoutes, wanted: EdgeRoutes) -> Iterator[LiveExperiment]:
        former = {live.experiment.model: live for live in before.experiments}
        for live in wanted.experiments:
            found = live if self._is_there(config, live) else former.get(live.experiment.model)
            if (
                found is not None
                and found.experiment.stable == live.experiment.stable
                and self._is_there(config, found)
            ):
                yield found

    def _is_there(self, config: EdgeConfig, live: LiveExperiment) -> bool:
        return experiment_clusters.names(config, (live,)) <= self._in_force
