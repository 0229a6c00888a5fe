"""The controller as a process: one per state directory, from start to SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from routing.controller import heartbeat, places
from routing.controller.book import Book
from routing.controller.loop import Controller
from serving import process_id
from serving.json_log import ComponentLog, open_log
from serving.supervisor.lock import locked
from slipway.files import write_atomically
from slipway.settings import Settings

_TICK = 0.5
_TAKEN = "a controller of this state directory runs already"
_TAKEN_FIX = "nothing: it does the work; `slipway down` stops it"
_HEARTBEAT_SECONDS = 2.0

OpenBook = Callable[[Settings, ComponentLog], Book]


def run(settings: Settings, open_book: OpenBook) -> bool:
    """Until SIGTERM or SIGINT (False), or no rollout needs it (True). Raises ServerAlreadyRunning when another runs."""
    woken, log = threading.Event(), open_log("routing", settings.state_dir / "logs")
    _on_signals(woken)
    with locked(places.folder(settings), "controller.lock", _TAKEN, _TAKEN_FIX):
        book = open_book(settings, log)
        controller = Controller(settings, book, log)
        server = book.serve_feedback(_last_port(settings))
        log.info("started", pid=os.getpid(), feedback_port=server.port)
        try:
            return _loop(settings, controller, server.port, woken)
        finally:
            server.stop()
            controller.close()
            book.close()
            log.info("stopped")


def _loop(settings: Settings, controller: Controller, port: int, woken: threading.Event) -> bool:
    beat = 0.0
    while not woken.is_set():
        controller.tick()
        if time.monotonic() - beat >= _HEARTBEAT_SECONDS:
            beat = time.monotonic()
            _write_heartbeat(settings, port, controller.store_problem)
        if controller.finished():
            return True
        woken.wait(_TICK)
    return False


def _write_heartbeat(settings: Settings, port: int, problem: str | None) -> None:
    values = {
        "pid": os.getpid(),
        "ticks": process_id.start_ticks(os.getpid()),
        "feedback_port": port,
        "heartbeat": time.time(),
        "store": problem or "answers",
    }
    # a full disk must not end the loop: an abort may free what fills it
    with contextlib.suppress(OSError):
        write_atomically(places.heartbeat(settings), json.dumps(values))


def _last_port(settings: Settings) -> int:
    """The port of the one before: who leads feedback here need not be told again."""
    last = heartbeat.read(settings)
    return last.feedback_port if last is not None else 0


def _on_signals(woken: threading.Event) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
