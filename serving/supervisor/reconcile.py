"""Makes what is served equal to what the repository says, one model at a time, and proves every version first.

Runs on the loading thread. A version that is damaged, refused by the engine or wrong about its golden image is marked
as failed with its reason and left out; what served before goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from serving.json_log import ComponentLog
from serving.supervisor.board import Board
from serving.supervisor.desired import DesiredModel
from serving.supervisor.engine import Session
from serving.triton.model_config import usable_cores
from slipway.errors import InstanceDead, ServerUnavailable, SlipwayError
from slipway.repository import Repository

#: A version that answered before and cannot be loaded again (memory, disk) is tried again this often; one that never
#: answered is not, until the pointer names it anew: its files never change.
_RETRY_SECONDS = 20.0
_SILENT_PROBES = 3
#: A load is mostly one core's work (a process starts and imports its runtime); models do not wait for each other.
_PARALLEL_LOADS = min(4, usable_cores())

Check = Callable[[int], None]


@dataclass(frozen=True)
class Outcome:
    """``ok``: versions that are loaded and, where ``checked``, have just answered right."""

    ok: tuple[int, ...]
    failed: dict[int, SlipwayError]
    checked: bool


class Reconciler:
    """One per process of the engine; ``board`` outlives it."""

    def __init__(self, repository: Repository, session: Session, board: Board, log: ComponentLog) -> None:
        self._repository, self._session, self._loader = repository, session, session.loader
        self._board, self._log = board, log
        self._verified: set[tuple[str, int]] = set()
        self._pointers: dict[str, str] = {}
        self._retries: dict[tuple[str, int], float] = {}
        self._silent: Counter[tuple[str, int]] = Counter()

    def due(self) -> bool:
        """Whether a version that failed after it had answered is to be tried again now."""
        return any(when <= time.monotonic() for when in self._retries.values())

    def run(self) -> None:
        """A pass over the whole repository. Raises ServerUnavailable when the engine stops answering: run again."""
        self._forgive()
        wanted = self._observe()
        with ThreadPoolExecutor(max_workers=_PARALLEL_LOADS, thread_name_prefix="load") as pool:
            outcomes = [pool.submit(self._bring, desired) for desired in wanted]
            wait(outcomes)
            for outcome in outcomes:
                outcome.result()
        names = {name for desired in wanted for name in (desired.model, *desired.networks)}
        problems = [name for name in self._loader.models if name not in names]
        readable = {desired.model for desired in wanted}
        for name in problems:
            # A model whose files cannot be read at the moment goes on serving what it served.
            if name.split(".")[0] in readable or name.split(".")[0] not in self._repository.models():
                self._loader.unload(name)
        self._session.looked()

    def probe(self) -> bool:
        """Asks every ready version for its golden answer. True when one is to be loaded anew: run a pass then."""
        found = False
        for desired in self._observe():
            for version in self._board.ready_versions(desired.model):
                problem = self._probe_one(desired.model, version)
                if problem is not None:
                    self._log.error("golden probe failed", model=desired.model, version=version, reason=str(problem))
                    for name in {desired.model, *desired.called.get(version, ())}:
                        self._loader.mark_stale(name)
                    found = True
        self._session.looked()
        return found

    def _probe_one(self, model: str, version: int) -> SlipwayError | None:
        """What is wrong; silence counts only after several probes in a row, for a long queue is silent too."""
        try:
            self._session.checks.public(model, version)
        except ServerUnavailable as problem:
            self._silent[model, version] += 1
            if self._silent[model, version] < _SILENT_PROBES:
                return None
            self._silent[model, version] = 0
            return problem
        except SlipwayError as problem:
            return problem
        self._silent[model, version] = 0
        return None

    def _observe(self) -> list[DesiredModel]:
        names = self._repository.models()
        for gone in set(self._board.models()) - set(names):
            self._board.forget(gone)
        wanted = []
        for name in names:
            try:
                desired = self._session.desired(name)
            except SlipwayError as problem:
                self._log.error("a model cannot be read", model=name, reason=str(problem))
                self._board.problem(name, str(problem))
                continue
            self._board.problem(name, None)
            self._doubt(desired)
            self._board.observe(desired)
            wanted.append(desired)
        return wanted

    def _doubt(self, desired: DesiredModel) -> None:
        """A pointer that was written: its version is checked anew, unless it is loaded and answers."""
        model, version = desired.model, desired.pointer
        if self._pointers.get(model) == desired.pointer_updated:
            return
        self._pointers[model] = desired.pointer_updated
        if version not in self._board.ready_versions(model):
            self._verified.discard((model, version))
            self._retries.pop((model, version), None)

    def _forgive(self) -> None:
        for (model, version), when in list(self._retries.items()):
            if when <= time.monotonic():
                del self._retries[model, version]
                self._board.forgive(model, version)

    def _bring(self, desired: DesiredModel) -> None:
        """Networks before the public model that calls them; otherwise the public model first, for it answers users."""
        model, failed = desired.model, self._board.failed(desired.model)
        candidates = [version for version in desired.active if version not in failed and self._intact(model, version)]
        for version in set(candidates) - set(self._board.ready_versions(model)):
            self._board.mark(model, version, "loading")
        if desired.called:
            checked = self._bring_networks(desired, candidates)
            self._bring_public(desired, candidates, checked)
        else:
            self._bring_public(desired, candidates, False)
            self._bring_networks(desired, candidates)

    def _bring_public(self, desired: DesiredModel, candidates: list[int], check_anyway: bool) -> None:
        """Takes versions that fail out of ``candidates``."""
        model = desired.model
        unproven = bool(set(candidates) - set(self._board.ready_versions(model)))
        outcome = self._serve(model, candidates, self._public_check(model), check_anyway or unproven)
        for version, problem in outcome.failed.items():
            self._fail(model, version, problem)
            candidates.remove(version)
        for version in outcome.ok if outcome.checked else ():
            self._board.mark(model, version, "ready")

    def _bring_networks(self, desired: DesiredModel, candidates: list[int]) -> bool:
        """Takes versions whose called network fails out of ``candidates``; True when a network was loaded anew."""
        checked = False
        for network, having in desired.networks.items():
            check = self._network_check(desired.model, network)
            self._loader.count_auto(network, called=any(network in names for names in desired.called.values()))
            outcome = self._serve(network, [version for version in having if version in candidates], check, False)
            checked = checked or outcome.checked
            self._board.mark_network(desired.model, network, outcome.ok)
            for version, problem in outcome.failed.items():
                self._log.error("network refused", network=network, version=version, reason=str(problem))
                if network in desired.called.get(version, ()):
                    self._fail(desired.model, version, problem)
                    candidates.remove(version)
        return checked

    def _serve(self, name: str, versions: Sequence[int], check: Check, check_anyway: bool) -> Outcome:
        """Loads ``versions`` of a model of the server and asks each; repeats without those that answer wrongly."""
        left, failed, checked = list(versions), dict[int, SlipwayError](), False
        while left:
            changed = not self._loader.is_current(name, left)
            if changed:
                refused = self._loader.apply(name, left)
                failed |= refused
                left = [version for version in left if version not in refused]
            if not (changed or check_anyway):
                break
            wrong = {version: problem for version in left if (problem := self._try(check, version)) is not None}
            checked = True
            failed |= wrong
            left = [version for version in left if version not in wrong]
            if not wrong:
                break
            if not left:
                self._loader.unload(name)
        return Outcome(tuple(left), failed, checked)

    def _try(self, check: Check, version: int) -> SlipwayError | None:
        """What is wrong with the version; a server that does not answer is raised, not held against the version."""
        try:
            check(version)
        except (ServerUnavailable, InstanceDead):
            raise
        except SlipwayError as problem:
            return problem
        return None

    def _public_check(self, model: str) -> Check:
        return lambda version: self._session.checks.public(model, version)

    def _network_check(self, model: str, network: str) -> Check:
        return lambda version: self._session.checks.network(model, network, version)

    def _intact(self, model: str, version: int) -> bool:
        """Every file's sha256 is the manifest's; read once per version, for published files do not change."""
        if (model, version) in self._verified:
            return True
        try:
            self._repository.verify(model, version)
        except SlipwayError as problem:
            self._fail(model, version, problem)
            return False
        self._verified.add((model, version))
        return True

    def _fail(self, model: str, version: int, problem: SlipwayError) -> None:
        self._log.error("version refused", model=model, version=version, reason=str(problem))
        self._board.mark(model, version, "failed", str(problem))
        if self._board.answered(model, version):
            self._retries[model, version] = time.monotonic() + _RETRY_SECONDS
