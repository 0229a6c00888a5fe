"""Which packages a format lacks here."""

from __future__ import annotations

from importlib.util import find_spec


def missing(*packages: str) -> str | None:
    """None when all can be found (nothing is imported), else a sentence with the way to get them."""
    absent = [name for name in packages if find_spec(name) is None]
    if not absent:
        return None
    return f"Python packages are missing: {', '.join(absent)}; install them with `make setup`"
