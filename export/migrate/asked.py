"""Asks handlers about sample files in processes of their own, so that what they do stays there.

The archive's own handler answers in this project's environment, loaded by TorchServe's loader; a handler that is to be
served as it stands answers in the serving environment too, through the code that will serve it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slipway
from export.migrate.archive import Archive
from slipway.errors import EnvironmentUnfit, HandlerFailed

_ROOT = Path(slipway.__file__).resolve().parent.parent
#: Seconds for all samples, with the loading.
_TIMEOUT = 600.0
#: The last line of a traceback.
_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Asked:
    """What a handler said about one sample: its bytes, or why there are none."""

    answer: bytes | None
    error: str | None = None


def ask_original(archive: Archive, samples: Sequence[Path], folder: Path) -> list[Asked]:
    """The archive's own handler, one request per sample. ``folder``: for the job's files.

    Raises HandlerFailed when it does not start."""
    job = {
        "folder": str(archive.folder),
        "name": archive.name,
        "handler": archive.handler,
        "torchvision": archive.kind == "stock" or _imports_torchvision(archive),
        # without leave to run its code, no module of the archive may be found, whatever its name
        "code": archive.runs_code,
    }
    return _run(Path(sys.executable), "export.migrate.reference_worker", job, samples, folder, archive.shown)


def _imports_torchvision(archive: Archive) -> bool:
    return any(b"torchvision" in path.read_bytes() for path in archive.folder.rglob("*.py"))


def ask_served(python: Path, version: Path, name: str, samples: Sequence[Path], folder: Path) -> list[Asked]:
    """The handler in ``version`` as it will be served, by the serving environment's ``python``.

    Raises HandlerFailed when it does not start, EnvironmentUnfit when there is no such environment."""
    if not python.is_file():
        raise EnvironmentUnfit(
            "the serving environment does not exist", observed=f"no {python}", fix="run `make setup`"
        )
    job = {"version": str(version), "name": name}
    return _run(python, "export.migrate.served_worker", job, samples, folder, name)


def _run(
    python: Path, module: str, job: dict[str, Any], samples: Sequence[Path], folder: Path, shown: str
) -> list[Asked]:
    folder.mkdir(parents=True, exist_ok=True)
    out, written = folder / f"{module}.out.json", folder / f"{module}.job.json"
    out.unlink(missing_ok=True)
    written.write_text(json.dumps({**job, "samples": [str(path.resolve()) for path in samples], "out": str(out)}))
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **dict.fromkeys(_THREADS, "1")}
    try:
        done = subprocess.run(
            [str(python), "-m", module, str(written)],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise HandlerFailed(
            f"the handler of {shown} does not answer", observed=f"{_TIMEOUT:.0f} s", expected="fewer or smaller samples"
        ) from problem
    if done.returncode != 0 or not out.is_file():
        raise HandlerFailed(
            f"the handler of {shown} cannot start",
            observed=_cause(done.stderr) or f"exit code {done.returncode}",
            expected="a handler that runs in this environment as it does in TorchServe",
            fix="install what it imports here (requirements of the archive), or migrate where it runs",
        )
    return _read(json.loads(out.read_text(encoding="utf-8")))


def _cause(stderr: str) -> str:
    """The first error of a chain: TorchServe's loader hides a failed import behind its own (ts/model_loader.py)."""
    lines = stderr.strip().splitlines()
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines[-1:] or [""])[0][:400]


def _read(rows: Any) -> list[Asked]:
    if isinstance(rows, dict):
        refused = rows["refused"]
        raise HandlerFailed(
            refused["message"],
            observed=refused.get("observed"),
            expected=refused.get("expected"),
            fix=refused.get("fix"),
        )
    return [Asked(base64.b64decode(row["answer"]) if "answer" in row else None, row.get("error")) for row in rows]
