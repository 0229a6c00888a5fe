"""One process of the in-process pipeline of any task, with its CPU time by stage, on one thread, with no server.

A program: `python -m benchmarks.stage_worker VERSION_DIR IMAGES_FOLDER FIRST`, in the serving environment of the engine
that it is compared with. It answers on stdout in JSON lines: first the record of every image, in the order of file
names, which is also the sign that it is ready; then, for each line of seconds on stdin, what it did in that time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handlers.fields import plain
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from handlers.placement import fused_networks
from handlers.stages import recording
from slipway.contract import Contract
from slipway.errors import ImageError, SlipwayError


def open_pipeline(folder: Path) -> Pipeline:
    """``folder``: of a published version. Raises ContractInvalid, NetworkUnreadable."""
    contract = Contract.read(folder / "contract.json")
    return Pipeline(contract, open_networks(fused_networks(folder, contract), contract, threads=1))


def expected(pipeline: Pipeline, images: Sequence[bytes]) -> list[dict[str, Any]]:
    """The record of each image; raises the ImageError of one that the pipeline refuses."""
    records = []
    for image in images:
        (answer,) = pipeline.run([image])
        if isinstance(answer, ImageError):
            raise answer
        records.append(plain(pipeline.task.fields, answer.record()))
    return records


def measure(pipeline: Pipeline, images: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Runs images in turn, one per call, for ``seconds``: images done, wall and CPU seconds, CPU seconds by stage, and
    milliseconds of each."""
    latencies: list[float] = []
    with recording() as times:
        cpu, begun = time.process_time(), time.perf_counter()
        now, turn = begun, 0
        while now - begun < seconds:
            _answered(pipeline, images[turn % len(images)])
            turn, before, now = turn + 1, now, time.perf_counter()
            latencies.append((now - before) * 1000)
        used = time.process_time() - cpu
    done = {"images": turn, "seconds": now - begun, "cpu_seconds": used, "latencies": latencies}
    return {**done, "stages": dict(times)}


def _answered(pipeline: Pipeline, image: bytes) -> None:
    """As far as a server goes before it writes its reply: the record too."""
    (answer,) = pipeline.run([image])
    if not isinstance(answer, ImageError):
        answer.record()


def main(folder: str, images_folder: str, first: str) -> None:
    """See the module's text."""
    pipeline = open_pipeline(Path(folder))
    images = [path.read_bytes() for path in sorted(Path(images_folder).iterdir())]
    _say({"expected": expected(pipeline, images)})
    start = int(first) % len(images)
    for line in sys.stdin:
        _say(measure(pipeline, images[start:] + images[:start], float(line)))


def _say(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SlipwayError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
