"""Where the files of a migrated model lie, and how they get there: made aside, and moved when they are judged.

``<root>/var/migrated/<model>/`` is a Python package as well, since a specification names the factory in it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import OutputUnwritable

_FOLDER = Path("var", "migrated")
#: Models' names have small letters, digits, _ and -, so nothing else becomes a name with capitals.
_DASH = "_DASH_"


@dataclass(frozen=True)
class Home:
    """``folder``: where a model's files will lie, below ``root``. ``staged``: where they are made, below
    ``staged_root``, under a name of its own: an earlier migration of the model may have been imported already."""

    root: Path
    staged_root: Path
    name: str
    staged_name: str

    @property
    def folder(self) -> Path:
        """Of the model, ``<root>/var/migrated/<name>``."""
        return self.root / _FOLDER / self.name

    @property
    def staged(self) -> Path:
        """Of this run, with the same path below its own root up to the last name."""
        return self.staged_root / _FOLDER / self.staged_name

    def settled(self, text: str) -> str:
        """A specification that names files in ``staged`` by their path, as it names them in ``folder``."""
        return text.replace(self.staged_name, self.name)

    @contextmanager
    def moved(self) -> Iterator[None]:
        """The files are in ``folder``; those that were there come back when the body raises. Raises OutputUnwritable
        where they cannot be moved."""
        fresh, earlier = (self.folder.with_name(f"{self.name}_{end}") for end in ("NEW", "EARLIER"))
        try:
            for path in (fresh, earlier):
                shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(self.staged, fresh, ignore=shutil.ignore_patterns("__pycache__"))
            if self.folder.exists():
                self.folder.rename(earlier)
            fresh.rename(self.folder)
        except OSError as problem:
            raise OutputUnwritable(
                "the migrated files cannot be written", observed=f"{self.folder}: {problem.strerror or problem}"
            ) from problem
        try:
            yield
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            if earlier.exists():
                earlier.rename(self.folder)
            raise
        shutil.rmtree(earlier, ignore_errors=True)


def home_of(model: str, root: Path, staged_root: Path) -> Home:
    """The home of ``model``; models of different names have different ones. ``staged_root``: a folder of this run."""
    name = model.replace("-", _DASH)
    home = Home(root, staged_root, name, f"{name}_{secrets.token_hex(8)}")
    home.staged.mkdir(parents=True)
    return home
