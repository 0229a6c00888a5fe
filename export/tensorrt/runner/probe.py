"""What this machine has of what plans need: driver, GPUs, TensorRT. ``python -m ...probe`` prints it as JSON.

It runs as a process of its own, because TensorRT ends the process that asks too much of it: without a GPU, 8.6's
``Builder`` raises and ``Runtime`` dies of SIGSEGV, and the lean runtime 11.4 dies at exit. The driver is therefore
looked for first, and without it nothing of TensorRT is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import processes
from .cuda import Driver
from .errors import RunnerError

#: The newest Python that wheels of 8.6.0, the newest builder on the public index, exist for.
_PYTHON_OF_8 = (3, 10)
_SECONDS = 120.0


def probe() -> dict[str, Any]:
    """``python``, ``driver`` (version or None), ``driver_problem``, ``devices``, ``tensorrt`` (version or None),
    ``tensorrt_problem``, ``lean`` (version or None). Never raises."""
    found: dict[str, Any] = {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "driver": None,
        "driver_problem": None,
        "devices": [],
        "tensorrt": None,
        "tensorrt_problem": None,
        "lean": _installed("tensorrt_lean", "tensorrt-lean-cu13-bindings", "tensorrt-lean-cu12-bindings"),
    }
    try:
        driver = Driver()
        found["driver"], found["devices"] = driver.version, [asdict(device) for device in driver.devices()]
    except (RunnerError, AttributeError) as problem:  # AttributeError: a driver that lacks a function
        found["driver_problem"] = str(problem)
    spec = importlib.util.find_spec("tensorrt")
    if spec is None or spec.origin is None:  # any folder of that name is a namespace package, without an origin
        found["tensorrt_problem"] = "the Python package tensorrt is not installed"
    elif not found["devices"]:
        # Importing without a GPU is safe, using it is not, and the import alone says nothing of use.
        found["tensorrt_problem"] = "tensorrt is installed, but not tried without a GPU"
    else:
        found |= _import_builder()
    return found


def missing(found: dict[str, Any]) -> list[str]:
    """What a build lacks, a sentence each; empty when it can be tried."""
    lacks = []
    if found["driver"] is None:
        lacks.append(str(found["driver_problem"]))
    elif not found["devices"]:
        lacks.append(f"the driver (CUDA {found['driver']}) shows no GPU")
    if found["tensorrt"] is None:
        lacks.append(f"no TensorRT builder: {found['tensorrt_problem']}; {_how_to_get(found)}")
    return lacks


def probe_apart() -> dict[str, Any]:
    """:func:`probe` in a process of its own; a death there is what is missing."""
    try:
        run = subprocess.run(
            processes.command(__name__),
            env=processes.environment(__name__, __file__),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        values: dict[str, Any] = json.loads(run.stdout)
        return values
    except (subprocess.TimeoutExpired, ValueError) as problem:
        reason = f"probing TensorRT in a process of its own failed: {type(problem).__name__}"
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "driver": None,
        "driver_problem": reason,
        "devices": [],
        "tensorrt": None,
        "tensorrt_problem": reason,
        "lean": None,
    }


def _import_builder() -> dict[str, Any]:
    try:
        trt = importlib.import_module("tensorrt")
        trt.Builder(trt.Logger(trt.Logger.ERROR))
    except Exception as problem:  # ImportError for a missing library, TypeError for a builder that cannot start
        line = str(problem).strip().splitlines()[:1]
        return {"tensorrt_problem": f"{type(problem).__name__}: {line[0][:300] if line else ''}"}
    return {"tensorrt": str(trt.__version__)}


def _installed(module: str, *distributions: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of unknown version"


def _how_to_get(found: dict[str, Any]) -> str:
    words = []
    if found["lean"]:
        words.append(f"the lean runtime ({found['lean']}) is here, which runs plans and builds none")
    words.append("tensorrt 10 and 11 come from NVIDIA's own package index (pip install tensorrt)")
    major, minor = (int(part) for part in found["python"].split("."))
    if (major, minor) > _PYTHON_OF_8:
        words.append(
            f"the public index has a builder up to 8.6.0, for Python 3.10 at most, and this is {major}.{minor}"
        )
    else:
        words.append("the public index has 8.6.0 (pip install tensorrt==8.6.0)")
    return "; ".join(words)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
