"""Assembles Triton's backend directory from real copies.

The wheel does not ship one: the stub lies elsewhere, and Triton refuses a backend library that is reached through a
symbolic link ("escapes backend directory", 2.51).

The stub runs its Python isolated: PYTHONPATH and its kind are ignored (2.51). What it does look through is this
directory's ``python/``, so the packages that models import are copied there. A running server is thereby immune to
edits of the source tree too: it goes on with the code that it was started with.

The python-based backends beside it serve ``backend: "onnxruntime"``, ``backend: "openvino"`` and
``platform: "pytorch_libtorch"`` models with the same files as Triton's native C++ backends.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import slipway
from serving.triton.environment import STUB_NAME, TritonInstallation

_ROOT = Path(slipway.__file__).resolve().parent.parent
PYTHON_BASED = ("onnxruntime", "openvino", "pytorch")
#: What runs inside the stubs: the public models' packages, and what the python-based backends share.
_PACKAGES = ("slipway", "handlers", "serving/triton/backends")


def assemble_backends(triton: TritonInstallation, cache: Path) -> Path:
    """Returns ``<cache>/backends-<digest>``, made when it does not exist; others of its kind are removed.

    The digest covers the content of Python sources, and size and time of the wheel's binaries, so an upgraded wheel
    or an edited backend gives a new directory, and a started server never sees a half-written one.
    """
    sources = _sources(triton)
    target = cache / f"backends-{_digest(sources)}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = cache / f"{target.name}.part"
        shutil.rmtree(temporary, ignore_errors=True)
        for inside, source in sources.items():
            copy = temporary / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(0o755 if inside.endswith((STUB_NAME, ".so")) else 0o644)
        temporary.rename(target)
    for old in cache.glob("backends-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target


def _sources(triton: TritonInstallation) -> dict[str, Path]:
    found = {
        f"python/{name}": triton.python_backend / name
        for name in ("libtriton_python.so", "triton_python_backend_utils.py")
    }
    found[f"python/{STUB_NAME}"] = triton.stub
    found |= {f"{name}/model.py": _ROOT / "serving/triton/backends" / name / "model.py" for name in PYTHON_BASED}
    for package in _PACKAGES:
        inside = [*(_ROOT / package).rglob("*.py"), *(_ROOT / above / "__init__.py" for above in _parents(package))]
        found |= {f"python/{path.relative_to(_ROOT).as_posix()}": path for path in inside}
    return found


def _parents(package: str) -> list[Path]:
    return [path for path in Path(package).parents if path.name]


def _digest(sources: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for inside, path in sorted(sources.items()):
        stat = path.stat()
        mark = path.read_bytes() if path.suffix == ".py" else f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode()
        digest.update(inside.encode() + b"\0" + mark + b"\0")
    return digest.hexdigest()[:16]
