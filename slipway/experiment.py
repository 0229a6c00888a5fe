"""An experiment of one model as the data plane needs it: which units see which version, and what is copied where.

It lies beside the pointer, ``<repository>/<model>/experiment.json``, replaced by atomic rename; whoever serves the
repository follows it. Without the file, every request that names no version goes to the pointer's version.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slipway.errors import ExperimentInvalid
from slipway.files import write_atomically

FILE_NAME = "experiment.json"
#: Shares are whole numbers of these: a unit's bucket is 0..BUCKETS-1.
BUCKETS = 10_000


@dataclass(frozen=True)
class Arm:
    """Units with ``start <= bucket < start + width`` see ``version``.

    ``start`` never changes in an experiment's life, so a larger width takes nobody out.
    """

    version: int
    start: int
    width: int


@dataclass(frozen=True)
class Shadow:
    """Copies to ``version`` that nobody sees: of ``buckets`` in BUCKETS requests, at most ``concurrency`` at a time."""

    version: int
    buckets: int = BUCKETS
    concurrency: int = 2


@dataclass(frozen=True)
class Layer:
    """Experiments of one layer exclude each other.

    Units whose bucket in the layer is ``start..start+width-1`` take part; the others see the stable version.
    """

    name: str
    start: int = 0
    width: int = BUCKETS


@dataclass(frozen=True)
class Experiment:
    """One experiment of one model.

    ``units``: where the unit comes from, the first that is there: ``header:NAME`` or ``cookie:NAME``; else the request
    id. ``override``: header that names a version and always wins. ``allow``: unit -> version, wins over the hash.
    ``record``: of BUCKETS requests, how many have their predictions recorded. ``compare``: of BUCKETS requests of an
    arm, how many are copied to the stable version for a paired comparison. ``keep_images``: recorded requests keep
    their images. ``fallback``: a failed answer of an arm is asked again of the stable version, and after
    ``try_timeout`` seconds one that has not come.
    """

    model: str
    id: str
    salt: str
    stable: int
    arms: tuple[Arm, ...] = ()
    shadow: Shadow | None = None
    units: tuple[str, ...] = ("header:x-unit-id",)
    override: str = "x-model-version"
    allow: dict[str, int] = field(default_factory=dict)
    layer: Layer | None = None
    record: int = BUCKETS
    compare: int = 0
    compare_concurrency: int = 2
    keep_images: bool = False
    fallback: bool = True
    try_timeout: float = 10.0

    @property
    def versions(self) -> tuple[int, ...]:
        """Every version that must be loaded, the stable one first."""
        others = [arm.version for arm in self.arms] + ([self.shadow.version] if self.shadow else [])
        return tuple(dict.fromkeys([self.stable, *others, *self.allow.values()]))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Experiment:
        """Raises ExperimentInvalid."""
        try:
            arms = tuple(Arm(**arm) for arm in values.get("arms", ()))
            shadow, layer = values.get("shadow"), values.get("layer")
            experiment = cls(
                **{
                    **values,
                    "arms": arms,
                    "shadow": Shadow(**shadow) if shadow else None,
                    "layer": Layer(**layer) if layer else None,
                    "units": tuple(values.get("units", ("header:x-unit-id",))),
                }
            )
        except TypeError as problem:
            raise ExperimentInvalid("an experiment has unknown or missing fields", observed=str(problem)) from problem
        experiment._check()
        return experiment

    def _check(self) -> None:
        ranges = sorted((arm.start, arm.start + arm.width) for arm in self.arms)
        inside = all(0 <= start <= stop <= BUCKETS for start, stop in ranges)
        apart = all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))
        if not (inside and apart):
            raise ExperimentInvalid(
                "the arms of an experiment overlap or exceed all units",
                observed=str([(arm.version, arm.start, arm.width) for arm in self.arms]),
                expected=f"disjoint ranges within 0..{BUCKETS}",
            )


def path_of(repository: Path, model: str) -> Path:
    """Where a model's experiment lies."""
    return repository / model / FILE_NAME


def read(repository: Path, model: str) -> Experiment | None:
    """The experiment of ``model``; None without one. Raises ExperimentInvalid for a file that cannot be understood."""
    try:
        text = path_of(repository, model).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
    except ValueError as problem:
        raise ExperimentInvalid(f"{path_of(repository, model)} is not JSON", observed=str(problem)) from problem
    return Experiment.from_dict(values)


def write(repository: Path, experiment: Experiment) -> None:
    """Replaces the experiment; servers follow within a second."""
    experiment._check()
    write_atomically(path_of(repository, experiment.model), json.dumps(experiment.to_dict(), indent=1))


def remove(repository: Path, model: str) -> None:
    """Ends the experiment: every unit sees the pointer's version."""
    path_of(repository, model).unlink(missing_ok=True)
