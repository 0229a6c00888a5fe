"""AOTInductor: a ``.pt2`` package of native code, compiled from torch's own program by this machine's C++ compiler.

**Opening it runs native code from the file**: a shared library is unpacked and loaded, so whoever wrote the file runs
with the rights of this process. Only a file that this run made, or whose sha256 its evidence vouches for, is opened:
``session`` wants the sum in ``artifact.details["sha256"]`` and refuses any other content.

The code is for processors that have what this one has (``-march=native``), and dies of an illegal instruction on
others; what it was compiled for stands in the details and is compared first. Triton has no backend for it, so it is
gated and kept beside the public model's files. Compiling takes about 30 s of processor time, half of it for the
compiler's own probing of the machine and for headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import Artifact, ExportOptions, FileFormat, root_cause
from slipway.errors import EnvironmentUnfit, ExportFailed, NetworkFailed

if TYPE_CHECKING:
    import torch

    from handlers.pipeline import RunNetwork

_PROGRAM = Path(__file__).with_name("aot_compile.py")
#: Of /proc/cpuinfo: the instruction sets that a compiler uses for ``-march=native``.
_INSTRUCTION_SETS = ("sse4", "avx", "fma", "bmi", "f16c", "amx", "asimd", "sve")


class AotInductor(FileFormat):
    """See the module's text."""

    name = "aot-inductor"
    file_name = "model.pt2"
    summary = "fp32 as native code for this kind of processor; kept with the version, served by nothing"
    packages = ("torch",)

    def available(self) -> str | None:
        """As :meth:`Format.available`; compiling needs a C++ compiler."""
        return super().available() or (None if compiler() else _no_compiler())

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Exports as ``torch-export`` does, compiles in a process of its own, and notes what vouches for the file."""
        import torch

        from export.formats.torch_export import exported_program

        program = exported_program(self.name, module, example, options)
        with tempfile.TemporaryDirectory(prefix="aot-", dir=options.shared_dir or path.parent) as name:
            folder = Path(name).resolve()
            torch.export.save(program, folder / "program.pt2")
            _compile(folder, options.log_dir / f"compile-{self.name}.log")
            shutil.copyfile(folder / "package.pt2", path)
        return {
            "torch": torch.__version__,
            "max_batch_size": max(2, options.max_batch_size),
            "machine": platform.machine(),
            "instruction_sets": instruction_sets(),
            "sha256": _sha256(path),
        }

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """Opens it where it may be opened: see the module's text. Raises ExportFailed and EnvironmentUnfit."""
        self._check_vouched(artifact)
        self._check_machine(artifact)
        return _open(artifact, threads)

    def _check_vouched(self, artifact: Artifact) -> None:
        expected = artifact.details.get("sha256")
        found = _sha256(artifact.path) if artifact.path.is_file() else None
        if expected is None or found != expected:
            raise ExportFailed(
                f"{self.name}: {artifact.path.name} is native code that nothing vouches for, so it is not opened",
                observed=f"sha256 {found}" if found else "no file",
                expected=f"sha256 {expected}" if expected else "its sha256 in the details of the artefact",
                fix="export it again",
            )

    def _check_machine(self, artifact: Artifact) -> None:
        wanted = set(artifact.details.get("instruction_sets", ()))
        lacking = sorted(wanted - set(instruction_sets()))
        machine = artifact.details.get("machine")
        if lacking or machine != platform.machine():
            raise EnvironmentUnfit(
                f"{self.name}: {artifact.path.name} was compiled for another processor",
                observed=f"{platform.machine()}" + (f" without {', '.join(lacking)}" if lacking else ""),
                expected=f"{machine} with {', '.join(sorted(wanted))}",
                fix="export it on this kind of machine",
            )


def compiler() -> str | None:
    """The C++ compiler: ``CXX``, else g++, as torch chooses it; None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def instruction_sets() -> list[str]:
    """Extensions of this machine's instruction set that compiled code may use; empty where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return sorted({flag for flag in flags.split() if flag.startswith(_INSTRUCTION_SETS)})


def _no_compiler() -> str:
    wanted = os.environ.get("CXX", "g++")
    return f"a C++ compiler is missing ({wanted}); install it, for example with `apt-get install g++`, or set CXX"


def _compile(folder: Path, log: Path) -> None:
    """Runs aot_compile.py with everything that it leaves behind in ``folder``."""
    found = compiler()
    if found is None:
        raise ExportFailed("aot-inductor: there is nothing to compile with", observed=_no_compiler())
    environment = {
        **os.environ,
        "TMPDIR": str(folder),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"),
        "CXX": str(_without_paths(found, folder)),
    }
    command = [sys.executable, str(_PROGRAM), str(folder / "program.pt2"), str(folder / "package.pt2")]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        raise ExportFailed(
            f"aot-inductor: the compilation ended with {done.returncode}",
            observed=lines[-1][:400] if lines else None,
            fix=f"see {log}; drop aot-inductor from formats if the model cannot be compiled",
        )


def _without_paths(found: str, folder: Path) -> Path:
    """The compiler with an option that keeps this machine's directories out of the library: torch has no setting."""
    import torch

    site = Path(torch.__file__).parents[1]
    wrapper = folder / ("clang++" if "clang" in found else "g++")  # torch tells the compilers apart by their names
    options = [f"-ffile-prefix-map={directory}=." for directory in (site, folder)]
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([found])} "$@" {shlex.join(options)}\n', encoding="utf-8")
    wrapper.chmod(0o700)
    return wrapper


def _open(artifact: Artifact, threads: int) -> RunNetwork:
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        with _unpacked_out_of_sight():
            model = torch._inductor.aoti_load_package(str(artifact.path))
    except Exception as problem:  # the loader raises what the library raises
        raise ExportFailed(
            f"{artifact.format}: {artifact.path.name} cannot be opened: {root_cause(problem)}",
            observed=f"a file of {artifact.bytes} bytes",
        ) from problem

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            with torch.inference_mode():
                logits: NDArray[np.float32] = model(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
        except Exception as problem:  # as above
            raise NetworkFailed(
                f"the network {artifact.path.name} failed",
                observed=f"{root_cause(problem)} on {pixels.dtype}{list(pixels.shape)}",
            ) from problem
        return logits

    return run


@contextlib.contextmanager
def _unpacked_out_of_sight() -> Iterator[None]:
    """Within the block the loader unpacks into a directory that is removed at its end.

    The library is mapped by then. torch (2.13) would remove it when the model is deleted, and never in a process that
    is killed: ``/tmp/aotinductor_*``.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="aot-") as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
