"""Becomes the command it is given, after asking the kernel to be killed when its parent dies (prctl(2)).

Run as a script: ``python -I -S exec_child.py <parent pid> <command> ...``, as :func:`mortal` writes it. It is
a program of its own because a ``preexec_fn`` is not safe in a process with threads, and the supervisor has gRPC's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def mortal(command: list[str]) -> list[str]:
    """``command`` as one that dies with this process, however that ends. Start it from the main thread: the kernel's
    signal follows the thread that forked."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> None:
    """Never returns: it is replaced by ``command``, or exits when the parent died meanwhile."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
