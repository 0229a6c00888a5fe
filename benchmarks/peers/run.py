"""Slipway against FastAPI and against no server at all: one run, the same images, the arms in turns.

Everything runs in processes of its own, started here on free ports and ended here: Slipway's servers with the stable
version of the project's repository, and the FastAPI server with the fp32 ONNX network of that version.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.images import write_images
from benchmarks.load import LoadPlan, run_locust
from benchmarks.measures import Round
from benchmarks.peers.fastapi_process import FastApiServer
from benchmarks.peers.report import ARMS, PeersReport
from benchmarks.raw import RawPool
from benchmarks.serving import raw_round, served_round
from benchmarks.subject import Subject, find_subject
from serving import control
from serving.ports import free_ports
from serving.triton.model_config import usable_cores
from slipway.errors import BenchmarkFailed, ModelNotFound
from slipway.repository import Repository
from slipway.settings import Settings

Progress = Callable[[str], None]
_PEER_FORMAT, _PEER_FILE = "onnx", "model.onnx"
_PEER_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "h11", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class PeersOptions:
    """``seconds``: measured time of each arm over all its ``rounds``; ``concurrency``: closed-loop clients;
    ``workers``: processes of FastAPI, one thread each. Raises BenchmarkFailed for values that cannot be measured."""

    model: str = "resnet18"
    seconds: float = 30.0
    rounds: int = 6
    concurrency: int = 8
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("seconds", "rounds", "concurrency", "workers"):
            if getattr(self, name) <= 0:
                raise BenchmarkFailed(f"{name} cannot be measured", observed=getattr(self, name), expected="> 0")

    @property
    def round_seconds(self) -> float:
        """Measured seconds of one round of one arm."""
        return self.seconds / self.rounds


def run(settings: Settings, options: PeersOptions, progress: Progress = lambda text: None) -> PeersReport:
    """Measures, and ends what it started. Raises ModelNotFound with the command to run where the model is not
    published, what starting the servers raises, and BenchmarkFailed where a request fails or no onnx network is there.
    """
    _refuse_unpublished(settings, options.model)
    python = settings.triton_env / "bin" / "python"
    described = machine.describe(python) | {"FastAPI": machine.versions(*_PEER_PACKAGES)}
    with tempfile.TemporaryDirectory(prefix="slipway-peers-") as work, ExitStack() as stack:
        progress("starting Slipway")
        subject = stack.enter_context(_served(settings, options.model))
        network = _peer_network(settings, subject)
        images = Path(work) / "images"
        images.mkdir()
        write_images("fixed", images)
        cores = usable_cores()
        progress(f"the pipeline in {cores} processes, with {subject.format} and with {_PEER_FORMAT}")
        raw = stack.enter_context(RawPool(python, subject.contract, subject.network, images, 1, cores))
        peer = stack.enter_context(RawPool(python, subject.contract, network, images, 1, cores))
        progress(f"starting FastAPI with {options.workers} workers")
        log = settings.state_dir / "logs" / "fastapi-peer.log"
        fastapi = stack.enter_context(FastApiServer(subject.contract, network, options.workers, log))
        first = sorted(images.iterdir())[0]
        fastapi.wait_ready(first.read_bytes(), peer.expected[0])
        arms = _Arms(subject, options, images, Path(work) / "locust", raw, peer, fastapi)
        rounds = _measure(arms, options, progress)
    return PeersReport(subject, options, rounds, described, datetime.now(timezone.utc))


@dataclass(frozen=True)
class _Arms:
    """Everything that runs."""

    subject: Subject
    options: PeersOptions
    images: Path
    work: Path
    raw: RawPool
    peer: RawPool
    fastapi: FastApiServer

    def round(self, arm: str, number: int) -> Round:
        """One round of one arm."""
        if arm in ("raw", "raw-onnx"):
            pool = self.raw if arm == "raw" else self.peer
            return raw_round(pool, self.options.round_seconds, arm, number)
        return served_round(run_locust(self._plan(arm), self.work), 1, arm, number)

    def _plan(self, arm: str) -> LoadPlan:
        subject = self.subject
        protocol, address, pool, pids = {
            "slipway-grpc": ("grpc", subject.edge_grpc, self.raw, subject.pids),
            "slipway-http": ("http", subject.edge_http, self.raw, subject.pids),
            "fastapi": ("bytes", self.fastapi.address, self.peer, {"fastapi": self.fastapi.pid}),
        }[arm]
        return LoadPlan(
            protocol=protocol,
            address=address,
            model=subject.model,
            asked_version=None,
            versions=(subject.version,),
            images=self.images,
            expected=pool.expected,
            batch=1,
            users=self.options.concurrency,
            seconds=self.options.round_seconds,
            pids=pids,
        )


def _measure(arms: _Arms, options: PeersOptions, progress: Progress) -> list[Round]:
    """Each round in another order, the same from run to run; refuses the first round with a failed request."""
    rounds, order = list[Round](), np.random.default_rng(0)
    for number in range(1, options.rounds + 1):
        for place in order.permutation(len(ARMS)):
            done = arms.round(ARMS[place], number)
            progress(f"round {number} {done.arm}: {done.images_per_second:.1f} images/s, {done.failures} failed")
            if done.failures or not done.images:
                raise BenchmarkFailed(
                    f"{done.failures} of {done.requests} requests to {done.arm} failed",
                    observed=max(done.errors, key=lambda text: done.errors[text], default="no request ended"),
                    expected="the answers of the same pipeline without a server",
                )
            rounds.append(done)
    return rounds


@contextmanager
def _served(settings: Settings, model: str) -> Iterator[Subject]:
    """The project's repository served by servers of our own, beside any that run already."""
    http_port, grpc_port = free_ports(settings.host, 2)
    own = settings.state_dir.with_name(f"{settings.state_dir.name}-peers")
    values = settings.model_dump() | {"state_dir": own, "http_port": http_port, "grpc_port": grpc_port}
    private = Settings(**values)
    control.stop(private)
    try:
        control.start_detached(private)
        yield find_subject(private, model)
    finally:
        control.stop(private)


def _refuse_unpublished(settings: Settings, model: str) -> None:
    published = Repository(settings.repository).models()
    if model not in published:
        raise ModelNotFound(
            f"{model} is not published, so there is nothing to compare",
            observed=f"published: {', '.join(published) or 'nothing'}",
            fix=f"run `slipway export {model}`",
        )


def _peer_network(settings: Settings, subject: Subject) -> Path:
    path = settings.repository / f"{subject.model}.{_PEER_FORMAT}" / str(subject.version) / _PEER_FILE
    if not path.is_file():
        raise BenchmarkFailed(
            f"{subject.model} version {subject.version} has no {_PEER_FORMAT} network for FastAPI to serve",
            observed=f"it serves {subject.format}",
            fix=f"add {_PEER_FORMAT} to formats and run `slipway export {subject.model} --activate`",
        )
    return path
