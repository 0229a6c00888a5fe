"""Finds the embedded Triton in its virtual environment and refuses an environment that would serve wrong answers.

``nvidia-pytriton`` is used as a carrier of binaries only: it is located by its files and never imported, neither
here nor in the environment that is inspected.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.errors import EnvironmentUnfit

_SETUP = "run `make setup`"

#: Runs inside the serving environment with its standard library alone; prints one JSON object.
_PROBE = """
import ctypes, importlib.metadata, importlib.util, json, os, platform, sys, sysconfig

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

def libpython():
    name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
    folders = [sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib")]
    for folder in folders:
        if folder and os.path.exists(os.path.join(folder, name)):
            return name, folder
    try:
        ctypes.CDLL(name)
    except OSError:
        return name, None
    return name, ""

spec = importlib.util.find_spec("pytriton")
name, folder = libpython()
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "package": os.path.dirname(spec.origin) if spec and spec.origin else None,
    "numpy": version("numpy"), "onnxruntime": version("onnxruntime"), "pillow": version("pillow"),
    "torch": version("torch"), "pytriton": version("nvidia-pytriton"),
    "libpython": name, "libpython_folder": folder, "system": platform.system(), "machine": platform.machine(),
}))
"""


@dataclass(frozen=True)
class TritonInstallation:
    """Where the parts of the embedded Triton lie, and the versions of what its stubs import.

    ``libpython_folder``: the folder to add to the linker's path, or None when the system's linker finds the library.
    """

    environment: Path
    package: Path
    python_version: str
    libpython_folder: Path | None
    versions: dict[str, str | None]

    @property
    def server(self) -> Path:
        """The ``tritonserver`` binary."""
        return self.package / "tritonserver" / "bin" / "tritonserver"

    @property
    def python_backend(self) -> Path:
        """The folder of the python backend's library and of ``triton_python_backend_utils.py``."""
        return self.package / "tritonserver" / "backends" / "python"

    @property
    def stub(self) -> Path:
        """The python backend's stub for this environment's Python; pytriton ships one per minor version."""
        return self.package / "tritonserver" / "python_backend_stubs" / self.python_version / STUB_NAME

    @property
    def caches(self) -> Path:
        """The folder of Triton's response caches."""
        return self.package / "tritonserver" / "caches"

    @property
    def libraries(self) -> Path:
        """The bundled shared libraries; a copied stub needs them on the linker's path."""
        return self.package.parent / "nvidia_pytriton.libs"


STUB_NAME = "triton_python_backend_stub"


def find_triton(environment: Path) -> TritonInstallation:
    """The Triton inside a virtual environment, checked.

    Raises:
        EnvironmentUnfit: no environment, no nvidia-pytriton, no stub for its Python, no libpython shared library, or
            a numpy of which this Triton would silently read wrong values.
    """
    facts = _probe(environment)
    _check(facts, environment)
    folder = facts["libpython_folder"]
    names = ("pytriton", "numpy", "onnxruntime", "torch", "pillow")
    found = TritonInstallation(
        environment=environment,
        package=Path(facts["package"]),
        python_version=facts["python"],
        libpython_folder=Path(folder) if folder else None,
        versions={name: facts[name] for name in names},
    )
    for path in (found.server, found.python_backend / "libtriton_python.so", found.stub, found.libraries):
        if not path.exists():
            raise EnvironmentUnfit(
                f"a part of the embedded Triton is missing for Python {found.python_version}",
                observed=f"no {path}",
                fix=f"use Python 3.10, 3.11 or 3.12, remove {environment} and {_SETUP}",
            )
    return found


def _probe(environment: Path) -> dict[str, Any]:
    python = environment / "bin" / "python"
    if not python.exists():
        raise EnvironmentUnfit(
            "the serving environment does not exist", observed=f"no {python}", expected=environment, fix=_SETUP
        )
    done = subprocess.run([str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise EnvironmentUnfit(
            f"the Python of {environment} does not run",
            observed=last[0],
            fix=f"remove {environment} and {_SETUP}",
        )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _check(facts: dict[str, Any], environment: Path) -> None:
    if facts["package"] is None:
        raise EnvironmentUnfit(
            "nvidia-pytriton, the carrier of the embedded Triton, is not installed",
            observed=f"not in {environment}, on {facts['system']} {facts['machine']}",
            expected="Linux on x86-64 or aarch64 with glibc 2.35 or later",
            fix=_SETUP,
        )
    if facts["numpy"] is None or int(facts["numpy"].split(".")[0]) >= 2:
        # The stub's old pybind11 misreads numpy-2 array descriptors: as_numpy() returns wrong values without an error.
        # Can go when a pytriton wheel carries a Triton whose stub is built against numpy 2 (test: [0.5, 1, 2] -> same).
        raise EnvironmentUnfit(
            "the serving environment must hold numpy 1: with numpy 2 this Triton reads wrong values, silently",
            observed=f"numpy {facts['numpy']} in {environment}",
            expected="numpy 1.26",
            fix=f"remove {environment} and {_SETUP}",
        )
    if facts["libpython_folder"] is None:
        raise EnvironmentUnfit(
            "the shared library of Python is missing; Triton's python backend is linked to it",
            observed=f"no {facts['libpython']}",
            fix=f"`apt-get install libpython{facts['python']}`, or a Python built with --enable-shared",
        )
