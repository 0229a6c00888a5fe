"""Finds TorchServe in this Python's environment by its files, without importing it, and checks what it needs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from serving.torchserve.java import Java, find_java
from slipway.errors import EnvironmentUnfit

_SETUP = "run `make setup`"
#: TorchServe 0.12 imports these and does not declare them: without yaml or torch no worker starts.
_UNDECLARED = ("yaml", "torch", "psutil")


@dataclass(frozen=True)
class TorchServeInstallation:
    """``home``: the folder that holds the ``ts`` package; ``python``: what its workers run in."""

    home: Path
    python: Path
    java: Java
    version: str

    @property
    def class_path(self) -> str:
        """Java's class path: the front end's jar."""
        return str(self.home / "ts" / "frontend" / "*")


def find_torchserve() -> TorchServeInstallation:
    """The TorchServe of this environment and a Java for it. Raises EnvironmentUnfit."""
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / "frontend").is_dir():
        raise EnvironmentUnfit("TorchServe is not installed", observed=f"no ts in {sys.prefix}", fix=_SETUP)
    missing = [name for name in _UNDECLARED if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentUnfit(
            "TorchServe's workers lack packages that it needs and does not declare",
            observed=f"not installed: {', '.join(missing)}",
            fix=_SETUP,
        )
    home = Path(spec.origin).parent.parent
    return TorchServeInstallation(home, Path(sys.executable), find_java(), metadata.version("torchserve"))
