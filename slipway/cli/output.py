"""What the command line prints: tables for people on stdout, JSON for programs, errors and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from slipway.errors import SlipwayError


def print_json(values: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n")


def print_line(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout; plain where stdout is not a terminal, so that it can be piped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(file=sys.stdout, width=None if terminal else 140).print(table)


def print_error(error: SlipwayError, as_json: bool) -> None:
    """An error on stderr: one JSON document, or its code, what was seen, what was expected and what to do."""
    if as_json:
        sys.stderr.write(json.dumps({"error": error.to_dict()}, ensure_ascii=False) + "\n")
        return
    lines = [f"error {error.code}: {error.message}"]
    for name in ("observed", "expected", "fix"):
        value = getattr(error, name)
        if value is not None:
            lines.append(f"  {name:9} {value}")
    sys.stderr.write("\n".join(lines) + "\n")


class Steps:
    """Progress of a long command: each step is named when it begins and timed when it ends."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()
        self._last: tuple[str, int] = ("", -1)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times one step; its name shows at once, its seconds at the end, also when it fails."""
        self.say(f"{name} ...")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - started
            self.say(f"{name}: {self.seconds[name]:.1f} s")

    def say(self, text: str) -> None:
        """One line of progress on stderr, with the seconds since the command began."""
        if not self.quiet:
            sys.stderr.write(f"[{time.monotonic() - self._started:6.1f} s] {text}\n")
            sys.stderr.flush()

    def tell(self, text: str, fraction: float) -> None:
        """Progress of a part as a fraction (0 to 1): said when the part changes, and at each fifth."""
        mark = (text, int(fraction * 5))
        if mark != self._last:
            self._last = mark
            self.say(f"  {text}: {fraction:.0%}")

    @property
    def total(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._started
