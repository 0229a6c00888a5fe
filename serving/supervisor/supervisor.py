"""The supervisor: starts the servers, watches processes and repository on this thread, loads on another, stops all."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from types import FrameType

from serving import folders, process_id
from serving.edge.routes import EdgeRoutes
from serving.json_log import open_log
from serving.state import FILE_NAME, ProcessState, State
from serving.supervisor import edge_server
from serving.supervisor.backoff import Backoff
from serving.supervisor.board import Board
from serving.supervisor.companions import Companions
from serving.supervisor.drain import drain_and_stop
from serving.supervisor.edge_server import EdgeServer
from serving.supervisor.engine import Engine
from serving.supervisor.engines import open_engine
from serving.supervisor.experiments import Experiments
from serving.supervisor.fingerprint import fingerprint
from serving.supervisor.fleet.fleet import Fleet
from serving.supervisor.lock import locked
from serving.supervisor.reconcile import Reconciler
from serving.supervisor.worker import Worker
from slipway.errors import ServerStartFailed
from slipway.repository import Repository
from slipway.settings import Settings

_TICK = 0.1
_REPOSITORY_SECONDS = 0.3
#: A server that is alive and does not answer is killed after this many failed passes in a row.
_WEDGED_AFTER = 6
_WEDGED_TIMEOUT = 5.0
_EDGE_START_SECONDS = 30.0


class Supervisor:
    """One per state directory. ``run`` blocks until SIGTERM or SIGINT and returns when everything has ended."""

    def __init__(self, settings: Settings, echo: bool = False) -> None:
        """``echo``: logs on standard error too. Raises EnvironmentUnfit for folders that cannot be made."""
        folders.make(settings)
        self._settings = settings
        self._log = open_log("supervisor", settings.state_dir / "logs", echo)
        self._repository = Repository(settings.repository)
        self._board = Board()
        self._experiments = Experiments(self._repository, self._log)
        self._fleet = Fleet(settings, self._repository, self._board, self._log)
        self._companions = Companions(settings.state_dir / "companions", self._log)
        self._backoffs = {settings.engine: Backoff(), "envoy": Backoff()}
        self._instances: dict[str, Backoff] = defaultdict(lambda: Backoff(budget=8))
        self._signals = 0
        self._woken = threading.Event()
        self._written: tuple[object, ...] = ()
        self._seen = fingerprint(settings.repository)
        self._look_at = 0.0
        self._draining = False

    def run(self) -> None:
        """Raises ServerAlreadyRunning, EnvironmentUnfit, PortUnavailable or ServerStartFailed when it cannot start."""
        with locked(self._settings.state_dir):
            self._catch_signals()
            try:
                self._start()
                while self._signals == 0:
                    self._tick()
                    self._woken.wait(_TICK)
                self._drain()
            except ServerStartFailed:
                # a stop that was asked for while starting is not a failed start
                if not self._stopping():
                    raise
            finally:
                self._end()

    def _start(self) -> None:
        # where handlers note answers when the edge asks them to
        os.environ["SLIPWAY_PREDICTIONS"] = str(self._settings.state_dir / "predictions")
        self._engine = open_engine(self._settings, self._log)
        engine, repository = self._engine, str(self._settings.repository)
        self._edge = EdgeServer(edge_server.configure(self._settings, engine.addresses, self._log), self._log)
        self._log.info("starting", engine=engine.name, repository=repository, versions=engine.versions)
        self._start_engine()
        self._fleet.start()
        # Envoy takes seconds to be ready; models load on their thread meanwhile.
        self._edge.start(_EDGE_START_SECONDS, self._stopping)

    def _drain(self) -> None:
        self._log.info("stopping", signals=self._signals)
        self._draining = True
        self._publish()
        patience = self._settings.drain_seconds
        drain_and_stop(self._engine, self._edge, self._worker, patience, lambda: self._signals, self._log)

    def _stopping(self) -> bool:
        return self._signals > 0

    def _start_engine(self) -> None:
        self._session = self._engine.start(self._settings.start_seconds, self._stopping)
        self._worker = Worker(Reconciler(self._repository, self._session, self._board, self._log), self._log)
        self._worker.start()

    def _tick(self) -> None:
        if self._engine.died:
            self._restart_engine()
        if self._edge.died:
            self._restart_edge()
        self._edge.rotate_access_log()
        if not self._engine.died:
            self._watch_instances()
            self._watch_wedged()
            self._session.loader.reap_orphans()
        self._watch_repository()
        self._companions.tick()
        self._publish()

    def _watch_instances(self) -> None:
        """A version without a living instance does not answer until one does; what the engine leaves to us is done."""
        found = self._engine.instances()
        dead = [item for item in found if not item.alive and self._instances[item.model].may_start()]
        alive = {(item.model, item.version) for item in found if item.alive}
        for item in dead:
            self._log.error("an instance died", model=item.model, version=item.version, instance=item.instance)
            if (item.model, item.version) not in alive:
                self._board.mark(item.model, item.version, "loading")
        for model in {item.model for item in dead}:
            self._instances[model].record()
            self._engine.renew(model)
            self._worker.request()

    def _restarts(self) -> dict[str, int]:
        instances = sum(item.total for item in self._instances.values())
        return {name: item.total for name, item in self._backoffs.items()} | {"instances": instances}

    def _watch_wedged(self) -> None:
        if self._worker.failures < _WEDGED_AFTER or self._engine.process is None:
            return
        if self._engine.live(_WEDGED_TIMEOUT):
            self._worker.failures = 0
            return
        self._log.error(f"{self._engine.name} does not answer and is killed", pid=self._engine.process.pid)
        self._engine.process.kill()

    def _watch_repository(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _REPOSITORY_SECONDS
        now = fingerprint(self._settings.repository)
        if now != self._seen:
            self._seen = now
            self._worker.request()

    def _restart_engine(self) -> None:
        backoff, name = self._backoffs[self._engine.name], self._engine.name
        self._board.all_loading()
        self._publish()
        if not backoff.may_start():
            return
        code = self._engine.process.returncode if self._engine.process is not None else None
        self._log.error(f"{name} died and is started again", returncode=code)
        self._worker.stop(timeout=5.0)
        backoff.record()
        try:
            self._engine.stop(grace=0.0)
            self._start_engine()
        except ServerStartFailed as problem:
            self._log.error(f"{name} did not start", reason=str(problem))
            self._give_way()

    def _give_way(self) -> None:
        """After a failed start: no half-started process, and other ports when somebody took ours."""
        if self._engine.ports_taken():
            self._engine.move_ports()
            self._edge.point_at(self._engine.addresses)
            self._edge.stop(grace=2.0)
            self._edge.start(_EDGE_START_SECONDS, self._stopping)
        elif self._engine.process is not None:
            self._engine.process.kill()

    def _restart_edge(self) -> None:
        if not self._backoffs["envoy"].may_start():
            return
        code = self._edge.process.returncode if self._edge.process is not None else None
        self._log.error("envoy died and is started again", returncode=code)
        self._backoffs["envoy"].record()
        try:
            self._edge.start(_EDGE_START_SECONDS, self._stopping)
        except ServerStartFailed as problem:
            self._log.error("envoy did not start", reason=str(problem))
            if self._edge.process is not None:
                self._edge.process.kill()

    def _publish(self) -> None:
        """Routes and state file, when something in them changed."""
        view = self._fleet.view()
        experiments, places = self._experiments.live(view), self._fleet.places(view)
        self._edge.update(EdgeRoutes(self._serving(), view.default_versions(), experiments, places))
        engine, envoy = self._engine.process, self._edge.process
        mark = (
            self._board.changes,
            self._fleet.states,
            self._phase(),
            self._worker.settled,
            engine.pid if engine else None,
            envoy.pid if envoy else None,
            *self._restarts().values(),
        )
        if mark != self._written:
            self._written = mark
            self._state().write(self._settings.state_dir)

    def _serving(self) -> bool:
        return not self._draining and not self._engine.died and self._worker.settled and self._board.all_routed()

    def _phase(self) -> str:
        if self._draining:
            return "draining"
        down = self._engine.died or self._edge.died
        tired = any(item.exhausted for item in (*self._backoffs.values(), *self._instances.values()))
        if not self._worker.settled and not self._backoffs[self._engine.name].total:
            return "starting"
        return "ready" if self._serving() and self._board.as_wanted() and not down and not tired else "degraded"

    def _state(self) -> State:
        return State(
            process=ProcessState(os.getpid(), process_id.start_ticks(os.getpid())),
            phase=self._phase(),
            repository=str(self._settings.repository),
            edge=self._edge.address(),
            engine=self._engine.state(),
            envoy=self._edge.state(),
            models=self._board.states(),
            restarts=self._restarts(),
            settled=self._worker.settled,
            servers=self._fleet.states,
        )

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._woken.set()

    def _end(self) -> None:
        """Whatever happened, nothing of ours stays: children, shared memory, state file."""
        self._companions.stop()
        self._fleet.stop()
        for name in ("_edge", "_engine"):
            server: EdgeServer | Engine | None = getattr(self, name, None)
            if server is not None:
                server.stop(grace=0.0)
        (self._settings.state_dir / FILE_NAME).unlink(missing_ok=True)
        self._log.info("stopped")
