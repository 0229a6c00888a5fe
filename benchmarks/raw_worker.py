"""One process of the ceiling: the public model's own pipeline over its own artefact, on one thread, with no server.

A program: `python -m benchmarks.raw_worker CONTRACT NETWORK IMAGES_FOLDER BATCH FIRST`. It runs inside the serving
environment (numpy, Pillow and the network's runtime; nothing else), so that what differs from the served model is the
server alone. It answers on stdout in JSON lines: first the expected result of every image, in the order of file names,
which is also the sign that it is ready; then, for each line of seconds on stdin, what it did in that time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rotation import groups
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import ImageError, SlipwayError


def measure(pipeline: Pipeline, work: Sequence[Sequence[bytes]], seconds: float) -> dict[str, object]:
    """Runs groups in turn for ``seconds``: images done, wall and CPU seconds, and milliseconds of each group."""
    latencies: list[float] = []
    cpu, begun = time.process_time(), time.perf_counter()
    now, images, turn = begun, 0, 0
    while now - begun < seconds:
        group = work[turn % len(work)]
        pipeline.run(group)
        images, turn, before, now = images + len(group), turn + 1, now, time.perf_counter()
        latencies.append((now - before) * 1000)
    return {"images": images, "seconds": now - begun, "cpu_seconds": time.process_time() - cpu, "latencies": latencies}


def expected(pipeline: Pipeline, images: Sequence[bytes]) -> list[dict[str, object]]:
    """Best label and score of each image; raises the ImageError of one that the pipeline refuses."""
    found: list[dict[str, object]] = []
    for image in images:
        (result,) = pipeline.run([image])
        if isinstance(result, ImageError):
            raise result
        record = result.record()
        found.append({"label": record["labels"][0], "score": float(record["scores"][0])})
    return found


def main(contract_path: str, network_path: str, folder: str, batch: str, first: str) -> None:
    """See the module's text."""
    contract = Contract.read(Path(contract_path))
    pipeline = Pipeline(contract, open_network(Path(network_path), contract.network.output, threads=1))
    images = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    _say({"expected": expected(pipeline, images)})
    work = groups(images, int(batch), int(first))
    for line in sys.stdin:
        _say(measure(pipeline, work, float(line)))


def _say(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SlipwayError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
