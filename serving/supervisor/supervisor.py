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
from serving.supervisor import edge_server, triton_server
from serving.supervisor.backoff import Backoff
from serving.supervisor.board import Board
from serving.supervisor.drain import drain_and_stop
from serving.supervisor.edge_server import EdgeServer
from serving.supervisor.fingerprint import fingerprint
from serving.supervisor.loader import Loader
from serving.supervisor.lock import locked
from serving.supervisor.reconcile import Reconciler
from serving.supervisor.triton_server import TritonServer
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
        self._backoffs = {"triton": Backoff(), "envoy": Backoff()}
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
        config = triton_server.configure(self._settings)
        self._triton = TritonServer(config, self._settings.state_dir, self._log)
        self._edge = EdgeServer(edge_server.configure(self._settings, config, self._log), self._log)
        self._log.info("starting", repository=str(self._settings.repository), versions=config.triton.versions)
        self._start_triton()
        # Envoy takes seconds to be ready; models load on their thread meanwhile.
        self._edge.start(_EDGE_START_SECONDS, self._stopping)

    def _drain(self) -> None:
        self._log.info("stopping", signals=self._signals)
        self._draining = True
        self._publish()
        patience = self._settings.drain_seconds
        slow = self._loader.replaced
        drain_and_stop(self._triton, self._edge, self._worker, patience, lambda: self._signals, self._log, slow)

    def _stopping(self) -> bool:
        return self._signals > 0

    def _start_triton(self) -> None:
        client = self._triton.start(self._settings.start_seconds, self._stopping)
        pid = self._triton.process.pid if self._triton.process is not None else 0
        timeout = self._settings.start_seconds
        self._loader = Loader(client, pid, self._settings.repository, self._log, timeout)
        reconciler = Reconciler(
            self._repository, client, self._loader, self._board, self._log, self._settings.load_previous
        )
        self._worker = Worker(reconciler, self._log)
        self._worker.start()

    def _tick(self) -> None:
        if self._triton.died:
            self._restart_triton()
        if self._edge.died:
            self._restart_edge()
        self._edge.rotate_access_log()
        if not self._triton.died:
            self._watch_instances()
            self._watch_wedged()
            self._loader.reap_orphans()
        self._watch_repository()
        self._publish()

    def _watch_instances(self) -> None:
        """A dead instance is replaced by a load that differs: its siblings serve until the new set is ready."""
        stubs = self._loader.stubs()
        dead = [stub for stub in stubs if not stub.alive and self._instances[stub.model].may_start()]
        alive = {(stub.model, stub.version) for stub in stubs if stub.alive}
        for stub in dead:
            self._log.error("an instance died", model=stub.model, version=stub.version, instance=stub.instance)
            if (stub.model, stub.version) not in alive:
                self._board.mark(stub.model, stub.version, "loading")
        for model in {stub.model for stub in dead}:
            self._instances[model].record()
            self._loader.mark_stale(model)
            self._worker.request()

    def _restarts(self) -> dict[str, int]:
        instances = sum(item.total for item in self._instances.values())
        return {name: item.total for name, item in self._backoffs.items()} | {"instances": instances}

    def _watch_wedged(self) -> None:
        if self._worker.failures < _WEDGED_AFTER or self._triton.client is None or self._triton.process is None:
            return
        if self._triton.client.live(_WEDGED_TIMEOUT):
            self._worker.failures = 0
            return
        self._log.error("triton does not answer and is killed", pid=self._triton.process.pid)
        self._triton.process.kill()

    def _watch_repository(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _REPOSITORY_SECONDS
        now = fingerprint(self._settings.repository)
        if now != self._seen:
            self._seen = now
            self._worker.request()

    def _restart_triton(self) -> None:
        backoff = self._backoffs["triton"]
        self._board.all_loading()
        self._publish()
        if not backoff.may_start():
            return
        code = self._triton.process.returncode if self._triton.process is not None else None
        self._log.error("triton died and is started again", returncode=code)
        self._worker.stop(timeout=5.0)
        backoff.record()
        try:
            self._triton.stop(grace=0.0)
            self._start_triton()
        except ServerStartFailed as problem:
            self._log.error("triton did not start", reason=str(problem))
            self._give_way()

    def _give_way(self) -> None:
        """After a failed start: no half-started process, and other ports when somebody took ours."""
        if self._triton.ports_taken():
            self._triton.move_ports()
            self._edge.point_at(self._triton.config)
            self._edge.stop(grace=2.0)
            self._edge.start(_EDGE_START_SECONDS, self._stopping)
        elif self._triton.process is not None:
            self._triton.process.kill()

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
        routes = EdgeRoutes(ready=self._serving(), default_versions=self._board.default_versions())
        self._edge.update(routes)
        triton, envoy = self._triton.process, self._edge.process
        mark = (
            self._board.changes,
            self._phase(),
            self._worker.settled,
            triton.pid if triton else None,
            envoy.pid if envoy else None,
            *self._restarts().values(),
        )
        if mark != self._written:
            self._written = mark
            self._state().write(self._settings.state_dir)

    def _serving(self) -> bool:
        return not self._draining and not self._triton.died and self._worker.settled and self._board.all_routed()

    def _phase(self) -> str:
        if self._draining:
            return "draining"
        down = self._triton.died or self._edge.died
        tired = any(item.exhausted for item in (*self._backoffs.values(), *self._instances.values()))
        if not self._worker.settled and not self._backoffs["triton"].total:
            return "starting"
        return "ready" if self._serving() and self._board.as_wanted() and not down and not tired else "degraded"

    def _state(self) -> State:
        return State(
            process=ProcessState(os.getpid(), process_id.start_ticks(os.getpid())),
            phase=self._phase(),
            repository=str(self._settings.repository),
            edge=self._edge.address(),
            triton=self._triton.state(),
            envoy=self._edge.state(),
            models=self._board.states(),
            restarts=self._restarts(),
            settled=self._worker.settled,
        )

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._woken.set()

    def _end(self) -> None:
        """Whatever happened, nothing of ours stays: children, shared memory, state file."""
        for name in ("_edge", "_triton"):
            server: EdgeServer | TritonServer | None = getattr(self, name, None)
            if server is not None:
                server.stop(grace=0.0)
        (self._settings.state_dir / FILE_NAME).unlink(missing_ok=True)
        self._log.info("stopped")
