"""The orderly end: no new requests, the accepted ones answered, then Envoy, then the engine.

Nothing is in flight when the engine is told to stop, so it may be stopped quickly: Triton waits its whole exit timeout
when an instance was ever replaced (2.51: the dead one is never released), and TorchServe resets what it has (0.12).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from serving.json_log import ComponentLog
from serving.supervisor.edge_server import EdgeServer
from serving.supervisor.engine import Engine
from serving.supervisor.worker import Worker
from slipway.errors import SlipwayError

_ENVOY_GRACE = 5.0
_UNDRAINED_GRACE = 1.0
_POLL = 0.05


def drain_and_stop(
    engine: Engine,
    edge: EdgeServer,
    worker: Worker,
    drain_seconds: float,
    signals: Callable[[], int],
    log: ComponentLog,
) -> None:
    """Stops both servers; a second signal ends the wait for accepted requests."""
    drained = _drain(edge, drain_seconds, signals, log)
    edge.stop(_ENVOY_GRACE if drained else 1.0)
    worker.stop(timeout=0.1)
    code = engine.stop(engine.stop_grace if drained else min(engine.stop_grace, _UNDRAINED_GRACE))
    log.info("servers ended", drained=drained, engine=engine.name, returncode=code)


def _drain(edge: EdgeServer, timeout: float, signals: Callable[[], int], log: ComponentLog) -> bool:
    outcome: list[bool] = []

    def wait() -> None:
        try:
            outcome.append(edge.drain(timeout))
        except SlipwayError as problem:
            log.warning("the edge could not be drained", reason=str(problem))
            outcome.append(False)

    waiting = threading.Thread(target=wait, name="drain", daemon=True)
    waiting.start()
    before = signals()
    while waiting.is_alive() and signals() == before:
        waiting.join(_POLL)
    return bool(outcome and outcome[0])
