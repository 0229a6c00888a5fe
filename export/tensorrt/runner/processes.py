"""Starts a module of this package in a process of its own, from the project or from a bundle."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def command(module: str, *arguments: str) -> list[str]:
    """``python -m module arguments`` with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def environment(module: str, file: str) -> dict[str, str]:
    """This process's environment, with the folder that ``module`` (dotted, in ``file``) is imported from first."""
    root = str(Path(file).resolve().parents[module.count(".")])
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, before] if before else [root])}
