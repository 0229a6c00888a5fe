"""The serving benchmark: the served model over gRPC and HTTP against its own pipeline without a server, in turns."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import machine
from benchmarks.images import write_images
from benchmarks.load import LoadPlan, LoadRecord, run_locust
from benchmarks.measures import Round, share_within
from benchmarks.options import Options
from benchmarks.plain_proxy import PlainProxy, plain_proxy
from benchmarks.raw import RawPool
from benchmarks.report import Report
from benchmarks.subject import Subject, find_subject
from serving.triton.model_config import usable_cores
from slipway.errors import BenchmarkFailed
from slipway.settings import Settings

Progress = Callable[[str], None]


def run(settings: Settings, options: Options, progress: Progress = lambda text: None) -> Report:
    """Measures what this machine serves and writes the results into a new folder below ``options.out``.

    Raises ModelNotFound and ServerNotRunning with the command to run, and BenchmarkFailed when the load cannot run,
    or when requests failed: then the results are written first.
    """
    subject = find_subject(settings, options.model)
    python = settings.triton_env / "bin" / "python"
    described = machine.describe(python)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as work:
        rounds, points = _measure(subject, options, python, Path(work), progress)
    report = Report(subject, options, rounds, points, described, datetime.now(timezone.utc))
    folder = report.write(settings.root / options.out)
    progress(f"written to {os.path.relpath(folder)}")
    _refuse_failures(report)
    return report


def _measure(
    subject: Subject, options: Options, python: Path, work: Path, progress: Progress
) -> tuple[list[Round], dict[str, list[tuple[float, float]]]]:
    images = work / "images"
    images.mkdir()
    write_images(options.images, images)
    rounds: list[Round] = []
    points: dict[str, list[tuple[float, float]]] = {}
    progress(f"the pipeline of {subject.model} version {subject.version} in {usable_cores()} processes")
    with ExitStack() as stack:
        pool = stack.enter_context(
            RawPool(python, subject.contract, subject.network, images, options.batch, usable_cores())
        )
        proxy = stack.enter_context(plain_proxy(subject.triton_grpc, work)) if "envoy-grpc" in options.arms else None
        for number in range(1, options.rounds + 1):
            for arm in options.arms:
                if arm == "raw":
                    done = raw_round(pool, options.round_seconds, "raw", number)
                else:
                    plan = _plan(subject, options, arm, images, pool, proxy)
                    record = run_locust(plan, work / "locust")
                    done = served_round(record, options.batch, arm, number)
                    points.setdefault(arm, []).extend(_points(record, options, number))
                rounds.append(done)
                progress(f"round {number} {arm}: {done.images_per_second:.1f} images/s, {done.failures} failed")
    return rounds, points


def _plan(
    subject: Subject, options: Options, arm: str, images: Path, pool: RawPool, proxy: PlainProxy | None
) -> LoadPlan:
    direct = arm in ("triton-grpc", "envoy-grpc")
    addresses = {"http": subject.edge_http, "grpc": subject.edge_grpc, "triton-grpc": subject.triton_grpc}
    pids = dict(subject.pids)
    if proxy is not None and arm == "envoy-grpc":
        addresses[arm], pids["envoy"] = proxy.address, proxy.pid
    return LoadPlan(
        protocol="http" if arm == "http" else "grpc",
        address=addresses[arm],
        model=subject.model,
        # the edge chooses the version, as for most clients; Triton itself would take its highest
        asked_version=subject.version if direct else None,
        versions=(subject.version,) if direct else subject.may_answer,
        images=images,
        expected=pool.expected,
        batch=options.batch,
        users=options.concurrency,
        seconds=options.round_seconds,
        pids=pids,
    )


def raw_round(pool: RawPool, seconds: float, arm: str, number: int) -> Round:
    """One round of the pipeline without a server; its CPU time is that of component ``arm``."""
    result = pool.measure(seconds)
    return Round(
        arm=arm,
        number=number,
        seconds=seconds,
        requests=len(result.latencies),
        images=result.images,
        images_per_second=result.images_per_second,
        latencies=result.latencies,
        cpu_seconds={arm: result.cpu_seconds},
    )


def served_round(record: LoadRecord, batch: int, arm: str, number: int) -> Round:
    """One round of a server, with ``batch`` images per request."""
    good = [(at, milliseconds) for at, milliseconds, error in record.requests if not error]
    images = batch * sum(share_within(*request, record.seconds) for request in good)
    return Round(
        arm=arm,
        number=number,
        seconds=record.seconds,
        requests=len(record.requests),
        images=images,
        images_per_second=images / record.seconds,
        latencies=[milliseconds for _, milliseconds in good],
        cpu_seconds=record.cpu_seconds,
        errors=Counter(error for _, _, error in record.requests if error),
    )


def _points(record: LoadRecord, options: Options, number: int) -> list[tuple[float, float]]:
    """(second of the arm's measured time, milliseconds) of good requests."""
    begun = (number - 1) * options.round_seconds
    return [(begun + at, milliseconds) for at, milliseconds, error in record.requests if not error]


def _refuse_failures(report: Report) -> None:
    failed = [arm for arm in report.arms if arm.failures or not arm.images]
    if not failed:
        return
    arm = failed[0]
    text = max(arm.errors, key=lambda error: arm.errors[error]) if arm.errors else "no request ended"
    raise BenchmarkFailed(
        f"{arm.failures} of {arm.requests} requests over {arm.name} failed",
        observed=text,
        expected=f"the answers of {report.subject.model} version {report.subject.version} without a server",
        fix=f"see {os.path.relpath(report.folder / 'report.html')} and `slipway logs`",
    )
