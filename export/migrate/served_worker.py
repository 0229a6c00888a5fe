"""A process of the serving environment that asks an archive's handler as the served model will: handlers.archived.

``python -m export.migrate.served_worker JOB.json``; see export.migrate.asked for the job and the result.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from handlers.archived import ArchivedHandler, ArchivedResult
from slipway.errors import SlipwayError


def main(job: dict[str, Any]) -> None:
    """Writes one entry per sample to ``job["out"]``; asks all of them in batches, as Triton would."""
    out = Path(job["out"])
    try:
        handler = ArchivedHandler(Path(job["version"]), job["name"])
    except SlipwayError as problem:
        out.write_text(json.dumps({"refused": problem.to_dict()}), encoding="utf-8")
        return
    bodies = [Path(path).read_bytes() for path in job["samples"]]
    rows = [_row(answer) for answer in handler.run(bodies, [{} for _ in bodies])]
    out.write_text(json.dumps(rows), encoding="utf-8")


def _row(answer: ArchivedResult | SlipwayError) -> dict[str, str]:
    if isinstance(answer, SlipwayError):
        return {"error": str(answer)}
    return {"answer": base64.b64encode(answer.answer).decode("ascii")}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
