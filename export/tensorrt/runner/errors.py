"""What can go wrong on the machine that builds plans; every message names the thing and what to do."""

from __future__ import annotations

#: Exit codes of run.py, the same as those of ``slipway``.
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BAD_INPUT, EXIT_ENVIRONMENT = 0, 1, 2, 3, 6


class RunnerError(Exception):
    """Base of them. ``exit_code``: what run.py ends with."""

    exit_code = EXIT_FAILED


class BundleDamaged(RunnerError):
    """A file of the bundle is missing or is not the one that was written."""

    exit_code = EXIT_BAD_INPUT


class EngineMissing(RunnerError):
    """This machine cannot run an engine; the message says exactly what is missing."""

    exit_code = EXIT_ENVIRONMENT


class BuildFailed(RunnerError):
    """TensorRT refused the graph, gave no plan, or died. ``log``: the last lines of its log."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EngineFailed(RunnerError):
    """A plan could not be opened, or a run of it failed."""
