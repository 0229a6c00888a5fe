"""An experiment of one model as the data plane needs it: which units see which version, and what is copied where.

It lies beside the pointer, ``<repository>/<model>/experiment.json``, replaced by atomic rename; whoever serves the
repository follows it. Without the file, every request that names no version goes to the pointer's version.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from slipway.errors import ExperimentInvalid
from slipway.files import remove_whatever, write_atomically

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE_NAME = "experiment.json"
#: Shares are whole numbers of these: a unit's bucket is 0..BUCKETS-1.
BUCKETS = 10_000
#: What the edge's copies in flight, and the time of a try in seconds, may be.
MOST_COPIES = 64
TRY_SECONDS = (0.1, 3600.0)
_NAME = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_HEADER, _UNIT = re.compile(_NAME), re.compile(f"(header|cookie):{_NAME}")
_VISIBLE = re.compile(r"[ -~]{1,256}")
#: How pydantic reads these classes from a file: as they are written, or not at all.
_AS_WRITTEN: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True)
class Arm:
    """Units with ``start <= bucket < start + width`` see ``version``.

    ``start`` never changes in an experiment's life, so a larger width takes nobody out.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _AS_WRITTEN

    version: int
    start: int
    width: int


@dataclass(frozen=True)
class Shadow:
    """Copies to ``version`` that nobody sees: of ``buckets`` in BUCKETS requests, at most ``concurrency`` at a time."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _AS_WRITTEN

    version: int
    buckets: int = BUCKETS
    concurrency: int = 2


@dataclass(frozen=True)
class Layer:
    """Experiments of one layer exclude each other.

    Units whose bucket in the layer is ``start..start+width-1`` take part; the others see the stable version.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _AS_WRITTEN

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

    __pydantic_config__: ClassVar[dict[str, Any]] = _AS_WRITTEN

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
    def from_json(cls, text: str | bytes) -> Experiment:
        """Raises ExperimentInvalid for what is no experiment: nothing is converted, left out or added."""
        from pydantic import ValidationError

        try:
            found = _reader().validate_json(text)
        except ValidationError as problem:
            item = problem.errors(include_url=False)[0]
            place = ".".join(map(str, item["loc"]))
            raise ExperimentInvalid(
                f"not an experiment: {place}: {item['msg']}" if place else f"not an experiment: {item['msg']}",
                observed=f"{item['input']!r:.80}",
            ) from problem
        found.check()
        return found

    def check(self) -> None:
        """Raises ExperimentInvalid for a value that the edge could not follow."""
        for name, value, least, most in self._numbers():
            if value < least or (most is not None and value > most):
                raise ExperimentInvalid(
                    f"{name} of an experiment is out of its range",
                    observed=value,
                    expected=f"{least} or more" if most is None else f"{least} to {most}",
                )
        for name, text, pattern in self._texts():
            if not pattern.fullmatch(text):
                raise ExperimentInvalid(
                    f"{name} of an experiment cannot be used", observed=repr(text)[:80], expected=pattern.pattern
                )
        self._check_ranges()

    def _numbers(self) -> list[tuple[str, float, float, float | None]]:
        """Name, value, least and most of every number; ranges of buckets have a check of their own."""
        versions = (self.stable, *(arm.version for arm in self.arms), *self.allow.values())
        shadow = self.shadow or Shadow(self.stable)
        return [
            *(("a version", version, 1, None) for version in (*versions, shadow.version)),
            ("shadow.buckets", shadow.buckets, 0, BUCKETS),
            ("shadow.concurrency", shadow.concurrency, 1, MOST_COPIES),
            ("record", self.record, 0, BUCKETS),
            ("compare", self.compare, 0, BUCKETS),
            ("compare_concurrency", self.compare_concurrency, 1, MOST_COPIES),
            ("try_timeout", self.try_timeout, *TRY_SECONDS),
        ]

    def _texts(self) -> list[tuple[str, str, re.Pattern[str]]]:
        return [
            *((name, getattr(self, name), _VISIBLE) for name in ("model", "id", "salt")),
            *(("layer.name", layer.name, _VISIBLE) for layer in (self.layer,) if layer is not None),
            *(("a unit's source", unit, _UNIT) for unit in self.units),
            ("override", self.override, _HEADER),
        ]

    def _check_ranges(self) -> None:
        ranges = sorted((arm.start, arm.start + arm.width) for arm in self.arms)
        layer = self.layer or Layer("all")
        inside = all(
            0 <= start <= stop <= BUCKETS for start, stop in (*ranges, (layer.start, layer.start + layer.width))
        )
        apart = all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))
        if not (inside and apart):
            raise ExperimentInvalid(
                "the arms of an experiment, or its part of a layer, overlap or exceed all units",
                observed=str([(arm.version, arm.start, arm.width) for arm in self.arms]),
                expected=f"disjoint ranges within 0..{BUCKETS}",
            )


@functools.cache
def _reader() -> TypeAdapter[Experiment]:
    """Made when the first file is read: most commands read none, and pydantic takes its time to load."""
    from pydantic import TypeAdapter

    return TypeAdapter(Experiment)


def path_of(repository: Path, model: str) -> Path:
    """Where a model's experiment lies."""
    return repository / model / FILE_NAME


def read(repository: Path, model: str) -> Experiment | None:
    """The experiment of ``model``; None without one. Raises ExperimentInvalid for a file that cannot be understood,
    whatever is wrong with it."""
    path = path_of(repository, model)
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise ExperimentInvalid(f"{path} cannot be read", observed=str(problem)) from problem
    try:
        found = Experiment.from_json(text)
    except ExperimentInvalid as problem:
        raise ExperimentInvalid(
            f"{path}: {problem.message}", observed=problem.observed, expected=problem.expected
        ) from problem
    if found.model != model:
        raise ExperimentInvalid(f"{path} is of another model", observed=found.model, expected=model)
    return found


def write(repository: Path, experiment: Experiment) -> None:
    """Replaces the experiment; servers follow within a second. Raises ExperimentInvalid."""
    experiment.check()
    path = path_of(repository, experiment.model)
    if path.is_dir():
        remove_whatever(path)
    write_atomically(path, json.dumps(experiment.to_dict(), indent=1))


def remove(repository: Path, model: str) -> None:
    """Ends the experiment: every unit sees the pointer's version."""
    remove_whatever(path_of(repository, model))
