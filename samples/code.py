"""The code files that a sample's result depends on, for its recipe."""

from __future__ import annotations

from pathlib import Path

from samples.digits.variants import pixel_code


def code(**modules: tuple[str, ...]) -> list[Path]:
    """The named modules of the folders of this room, what all trainings share, and the handlers that make pixels."""
    here = Path(__file__).parent
    own = [here / folder / f"{name}.py" for folder, names in modules.items() for name in names]
    return [*own, here / "descent.py", here / "deterministic.py", *pixel_code()]
