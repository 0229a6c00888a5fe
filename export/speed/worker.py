"""One process that runs one format, or the trained model, and nothing else: as an instance that serves does.

A program: `python -m export.speed.worker PLAN.json`, see :class:`export.speed.workers.Plan`. It answers on stdout in
JSON lines: first that it is ready; then, for each line `BATCH SECONDS` on stdin, the turn that it did.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import numpy as np

from export.formats.base import Artifact
from export.formats.registry import find_format
from export.speed.turns import InProcess
from export.speed.workers import EAGER, Plan
from handlers.pipeline import RunNetwork
from slipway.errors import SlipwayError


def opened(plan: Plan) -> RunNetwork:
    """The session that the plan names; raises what opening it raises."""
    if plan.format == EAGER:
        return _eager(plan)
    companions = tuple(Path(name) for name in plan.companions)
    artifact = Artifact(plan.format, Path(plan.path), 0.0, plan.details, companions)
    return find_format(plan.format).session(artifact, plan.threads)


def _eager(plan: Plan) -> RunNetwork:
    import torch

    from export import sources
    from export.wrap import eager_network, wrap
    from slipway.spec import ModelSpec

    torch.set_num_threads(plan.threads)
    spec, root = ModelSpec.model_validate(plan.spec), Path(plan.root)
    contract = spec.contract(root)
    size = (contract.preprocess.height, contract.preprocess.width)
    loaded = sources.load(spec.one_source, root, contract.classes, Path(plan.cache_dir), input_size=size)
    return eager_network(wrap(loaded.module, contract.normalise))


def serve(plan: Plan, orders: TextIO, answers: TextIO) -> None:
    """Answers orders until there are no more."""
    run, pixels = opened(plan), np.load(plan.pixels)
    known: dict[int, InProcess] = {}
    _say(answers, {"ready": True})
    for line in orders:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        if batch not in known:
            known[batch] = InProcess(run, pixels, batch)
        _say(answers, asdict(known[batch].turn(seconds)))


def _say(answers: TextIO, values: dict[str, object]) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def main(plan: str) -> None:
    """See the module's text."""
    # Runtimes print to stdout as they like (a compiler's progress, say): only answers may go there.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Plan.read(Path(plan)), sys.stdin, answers)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SlipwayError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
