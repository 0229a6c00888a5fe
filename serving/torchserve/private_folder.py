"""TMPDIR of one server: workers import code from it, so nobody else may have made it or write to it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from slipway.errors import EnvironmentUnfit, ServerStartFailed

#: The kernel's limit of a Unix socket's path is 108 bytes; workers' sockets are ``<TMPDIR>/.ts.sock.<number>``.
_LONGEST = 108 - len("/.ts.sock.999999") - 1
#: Anybody can take a name in the system's folder before us: how many are tried.
_NAMES = 16


def temporary_folder(folder: Path) -> Path:
    """In the server's ``folder``, or by that folder's name in the system's where the path is too long.

    The same one as long as it is there and ours. Raises EnvironmentUnfit when others have taken every name."""
    own = folder / "tmp"
    if len(str(own).encode()) <= _LONGEST:
        return own
    name = f"slipway-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"
    names = [Path(tempfile.gettempdir()) / f"{name}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, _NAMES)))]
    for path in [*filter(is_private, names), *(path for path in names if not os.path.lexists(path))]:
        return path
    raise EnvironmentUnfit(
        "no temporary folder is left for TorchServe",
        observed=f"{names[0]} and the names after it belong to somebody else",
        fix="remove them, or set SLIPWAY_STATE_DIR to a shorter path",
    )


def is_private(folder: Path) -> bool:
    """Whether it is a folder, no link to one, that belongs to this user and that only this user enters."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700


def make_private(folder: Path) -> None:
    """Makes it, or takes it when it is there and private. Raises ServerStartFailed when it is somebody else's."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as problem:
        if not is_private(folder):
            raise ServerStartFailed(
                f"{folder} is there already and is not only ours",
                expected="a folder of this user with mode 0700, or none",
                fix="remove it",
            ) from problem
