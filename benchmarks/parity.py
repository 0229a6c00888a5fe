"""Do all engines say the same? Every sample image of every published model, asked of each engine and in process.

Servers are started one after the other, each behind its own supervisor over the same repository, or used where they
run already.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.agreement import Agreement, compare, share
from benchmarks.engines import ENGINES, EngineName, address, serving, settings_for
from benchmarks.voices import IN_PROCESS, Published, Said, Voice, in_process, of_client, sample_images
from serving.client import PredictClient
from serving.client.address import parse
from slipway.errors import BenchmarkFailed, SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings

Progress = Callable[[str], None]
COLUMNS = ("task", "model", "images", "engines", "same", "worst difference", "of")
#: So many problems of one row are kept.
_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class ParityOptions:
    """``models``: all that are published unless named; ``images``: of each, 0 for all; ``urls``: servers that run
    already, which are asked instead of starting ``engines``; ``transport``: http or grpc."""

    engines: tuple[EngineName, ...] = ENGINES
    models: tuple[str, ...] = ()
    images: int = 0
    urls: tuple[str, ...] = ()
    transport: str = "grpc"


@dataclass(frozen=True)
class Row:
    """One model, two voices. ``same``: images with the same answer; ``differences``: largest by field;
    ``problems``: the first few."""

    task: str
    model: str
    version: int
    images: int
    same: int
    engines: tuple[str, str]
    differences: Mapping[str, float]
    problems: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        """Whether every image has the same answer, and there was one."""
        return self.same == self.images > 0

    @property
    def worst(self) -> tuple[str, float]:
        """The field that comes nearest to its tolerance or is farthest beyond it, and its largest difference."""
        return max(self.differences.items(), key=lambda item: (share(*item), item[1]), default=("", 0.0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: an infinite difference, of values that cannot be subtracted, is null."""
        name, value = self.worst
        numbers = {field: item if math.isfinite(item) else None for field, item in self.differences.items()}
        return {
            "task": self.task,
            "model": self.model,
            "version": self.version,
            "engines": list(self.engines),
            "images": self.images,
            "same": self.same,
            "worst_difference": value if math.isfinite(value) else None,
            "worst_field": name,
            "differences": numbers,
            "problems": list(self.problems),
        }

    def cells(self) -> list[str]:
        """Values under COLUMNS."""
        name, value = self.worst
        engines = " = ".join(self.engines) if self.agrees else " | ".join(self.engines)
        return [self.task, self.model, str(self.images), engines, str(self.same), f"{value:.2g}", name]


@dataclass(frozen=True)
class ParityReport:
    """Rows by model, and of each model by pair of voices."""

    rows: list[Row]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether all voices agree about everything that was asked."""
        return bool(self.rows) and not self.skipped and all(row.agrees for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"same": self.same, "rows": [row.to_dict() for row in self.rows], "skipped": dict(self.skipped)}


def run(settings: Settings, options: ParityOptions, progress: Progress = lambda text: None) -> ParityReport:
    """Asks and compares. Raises ModelNotFound for a model that is not published, BenchmarkFailed when there is nothing
    to compare, and what a server's start raises."""
    repository = Repository(settings.repository)
    names = options.models or tuple(repository.models())
    if not names:
        raise BenchmarkFailed("nothing is published, so there is nothing to compare", fix="`slipway export MODEL`")
    asked: dict[str, _Asked] = {}
    skipped: dict[str, str] = {}
    for name in names:
        repository.versions(name)
        try:
            asked[name] = _Asked.of(settings, repository, name, options.images)
        except SlipwayError as error:
            skipped[name] = str(error)
    _ask(asked.values(), IN_PROCESS, in_process, progress)
    with tempfile.TemporaryDirectory(prefix="slipway-parity-") as folder:
        for engine, start in _starts(settings, options, Path(folder), progress):
            with start as client:
                _ask(asked.values(), engine, of_client(client), progress)
    return ParityReport([row for item in asked.values() for row in item.rows()], skipped)


@dataclass
class _Asked:
    """A model, its images, and what each voice has said about them."""

    published: Published
    files: list[Path]
    said: dict[str, list[Said]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, repository: Repository, name: str, most: int) -> _Asked:
        published = Published.of(repository, name)
        return cls(published, sample_images(settings, published, most))

    def rows(self) -> Iterator[Row]:
        """One per pair of voices."""
        for one, other in combinations(self.said, 2):
            total, same = Agreement(), 0
            for path, first, second in zip(self.files, self.said[one], self.said[other], strict=True):
                found = _compared(self.published, first, second)
                same += found.same
                total.add(Agreement(found.worst, [f"{path.name}: {text}" for text in found.problems]))
            yield Row(
                task=_task(self.published),
                model=self.published.model,
                version=self.published.version,
                images=len(self.files),
                same=same,
                engines=(one, other),
                differences=total.worst,
                problems=total.problems[:_MOST_PROBLEMS],
            )


def _task(published: Published) -> str:
    """Several labels per image are a task of their own for those who read the table."""
    contract = published.pipeline.contract
    several = contract.task == "classification" and contract.postprocess.activation == "sigmoid"
    return "multi-label" if several else contract.task


def _ask(asked: Any, name: str, voice: Voice, progress: Progress) -> None:
    for item in asked:
        progress(f"{name}: {len(item.files)} images of {item.published.model}")
        item.said[name] = voice(item.published, [path.read_bytes() for path in item.files])


def _compared(published: Published, one: Said, other: Said) -> Agreement:
    if isinstance(one, SlipwayError) or isinstance(other, SlipwayError):
        codes = [item.code if isinstance(item, SlipwayError) else "an answer" for item in (one, other)]
        text = str(other) if isinstance(other, SlipwayError) else codes[1]
        return Agreement(problems=[] if codes[0] == codes[1] else [f"{text} instead of {codes[0]}"])
    return compare(published.fields, one, other)


def _starts(
    settings: Settings, options: ParityOptions, folder: Path, progress: Progress
) -> Iterator[tuple[str, AbstractContextManager[PredictClient]]]:
    """Every served voice: its name, and a client of it for as long as it is asked."""
    if options.urls:
        yield from ((_name(url), PredictClient(url)) for url in options.urls)
        return
    for engine in options.engines:
        own = settings_for(settings, engine, folder, options.models)
        yield engine, _started(own, options.transport, progress)


@contextmanager
def _started(settings: Settings, transport: str, progress: Progress) -> Iterator[PredictClient]:
    with serving(settings, progress) as state, PredictClient(address(state, transport), timeout=120) as client:
        yield client


def _name(url: str) -> str:
    scheme, authority = parse(url)
    return f"{'torchserve' if scheme.startswith('torchserve') else 'triton'} at {authority}"
