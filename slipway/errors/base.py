"""Every error that Slipway raises on purpose: one tree, stable codes, and what a person needs to act.

This module is imported inside model servers (numpy-only environments), so it uses the standard library alone.

Each class is one kind of mistake, named after what happened. Its ``code`` never changes once released: clients,
dashboards and ``docs/errors.md`` rely on it (a test holds that page complete). An error carries what was observed,
what was expected and what to do about it; the command line prints those without a traceback, HTTP answers carry
them as JSON, and the Triton adapter sends ``str(error)``, which always starts with the code.
"""

from __future__ import annotations

from typing import Any, ClassVar

#: Exit codes of the ``slipway`` command (also listed in docs/errors.md).
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_INPUT = 3
EXIT_NOT_FOUND = 4
EXIT_NOT_RUNNING = 5
EXIT_ENVIRONMENT = 6


class SlipwayError(Exception):
    """Base of the tree. ``str(error)`` is one line: ``CODE: message; observed ...; expected ...; fix ...``."""

    code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(
        self,
        message: str,
        *,
        observed: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.observed = observed
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.message}"]
        if self.observed is not None:
            parts.append(f"observed {self.observed}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.fix is not None:
            parts.append(f"fix: {self.fix}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-ready values: ``code``, ``message`` and those of observed/expected/fix that are set."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        for name in ("observed", "expected", "fix"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value if isinstance(value, (str, int, float, bool, list, dict)) else str(value)
        return fields


def all_errors() -> list[type[SlipwayError]]:
    """Every class of the tree, the base first, each parent before its children."""
    found: list[type[SlipwayError]] = [SlipwayError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return found
