"""The thread that asks one other server, again and again, which of the wanted versions it really has.

A version is proven by its golden image, whose answer is known here: a server that says it is ready proves nothing. A
proven version is asked cheaply every second and proven again when the proof is old; one failure takes it out at once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping

from serving.golden import Golden, read_golden, refuse_other
from serving.json_log import ComponentLog
from serving.state import ServerState, ServerVersion
from serving.supervisor.fleet.ask import Asker
from slipway.contract import Contract
from slipway.errors import (
    ModelNotFound,
    ServerNotRunning,
    ServerUnavailable,
    SlipwayError,
    VersionLoadFailed,
    VersionNotFound,
)
from slipway.repository import Repository

_SECONDS = 1.0
#: While nothing is wanted yet.
_FIRST_SECONDS = 0.1
_Key = tuple[str, int]
_CODE = re.compile(r"\b([A-Z][A-Z_]+): ")
#: What an edge says of a version that its engine should have and has not, at the moment: see lua/faults.lua.
_AT_THE_MOMENT = "is not loaded at the moment"


class Prober:
    """``wanted``: model -> versions, asked before every round. The state is read from other threads."""

    def __init__(
        self,
        name: str,
        asker: Asker,
        repository: Repository,
        wanted: Callable[[], Mapping[str, tuple[int, ...]]],
        log: ComponentLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._asker, self._repository, self._wanted = name, asker, repository, wanted
        self._log, self._clock = log, clock
        self._known: dict[_Key, tuple[Contract, Golden]] = {}
        self._proofs: dict[_Key, float] = {}
        self._found: dict[_Key, ServerVersion] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"server {name}", daemon=True)

    def start(self) -> None:
        """Begins to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Asks no more; does not wait for what is under way."""
        self._stopping.set()

    @property
    def state(self) -> ServerState:
        """What was found last; only versions that were asked for."""
        found = self._found  # replaced as a whole, never changed
        return ServerState(self._name, tuple(found[key] for key in sorted(found)))

    @property
    def proven(self) -> frozenset[_Key]:
        """Versions that may get requests."""
        return frozenset(key for key, item in self._found.items() if item.state == "ready")

    def look(self) -> None:
        """One round over all wanted versions."""
        keys = [(model, version) for model, versions in self._wanted().items() for version in versions]
        self._found = {key: item for key, item in self._found.items() if key in keys}
        silent = self._silent() if keys else None
        for key in keys:
            if self._stopping.is_set():
                return
            item = self._ask(*key, silent)
            before = self._found.get(key)
            if before is None or before.state != item.state:
                write = self._log.info if item.state == "ready" else self._log.warning
                write("server", server=self._name, model=key[0], version=key[1], state=item.state, reason=item.reason)
            self._found = {**self._found, key: item}

    def _silent(self) -> SlipwayError | None:
        """Why nobody is there, so that it is not waited for once for each version."""
        try:
            self._asker.live()
        except SlipwayError as problem:
            return problem
        return None

    def _ask(self, model: str, version: int, silent: SlipwayError | None) -> ServerVersion:
        try:
            if silent is not None:
                raise silent
            self._check(model, version)
        except SlipwayError as problem:
            self._proofs.pop((model, version), None)
            state, reason = judged(problem)
            return ServerVersion(model, version, state, reason)
        return ServerVersion(model, version, "ready")

    def _check(self, model: str, version: int) -> None:
        """Raises SlipwayError with what is wrong."""
        self._asker.cheap(model, version)
        now = self._clock()
        if now - self._proofs.get((model, version), -self._asker.prove_every) < self._asker.prove_every:
            return
        contract, golden = self._golden(model, version)
        record, answered = self._asker.golden(contract, version, golden)
        refuse_other(f"{model} version {version}", golden.record, record)
        if answered != str(version):
            raise VersionLoadFailed("another version answered", observed=answered or "no version", expected=version)
        self._proofs[model, version] = now

    def _golden(self, model: str, version: int) -> tuple[Contract, Golden]:
        """Published files do not change: read once."""
        if (model, version) not in self._known:
            golden = read_golden(self._repository, model, version)
            self._known[model, version] = self._repository.contract(model, version), golden
        return self._known[model, version]

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS if self._found else _FIRST_SECONDS):
            try:
                self.look()
            except Exception:
                # a defect of ours: nothing of this server is proven, and it is asked again
                self._found = {}
                self._log.exception("asking a server failed", server=self._name)
                self._stopping.wait(_SECONDS)
        self._asker.close()


def judged(problem: SlipwayError) -> tuple[str, str]:
    """The state of a version that was not proven, and why: whether nobody answered, or without it, or wrongly."""
    text = f"{problem.message}; {problem.observed}" if problem.observed is not None else problem.message
    # clients of engines hold what the edge answered as text
    codes = {problem.code, *_CODE.findall(text)}
    if codes & {VersionNotFound.code, ModelNotFound.code} or _AT_THE_MOMENT in text:
        return "lagging", text
    if codes & {ServerNotRunning.code, ServerUnavailable.code}:
        return "unreachable", text
    return "wrong", text
