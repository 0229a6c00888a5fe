"""The way of a migration: unpack, read, map or wrap, ask both sides about samples, and only then write what serves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from export.images import image_files
from export.migrate import parity
from export.migrate.archive import Archive, read_archive
from export.migrate.asked import Asked, ask_original, ask_served
from export.migrate.homes import home_of
from export.migrate.parity import Row
from export.migrate.unpack import unpack
from export.steps import Progress, Steps
from export.workspace import workspace
from slipway.errors import MigrationDiffers, MigrationRefused, OutputUnwritable, SamplesInvalid
from slipway.files import write_atomically
from slipway.repository import Repository
from slipway.settings import Settings

_EXIF_ORIENTATION = 0x0112
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Wish:
    """What the user asked for. ``samples``: folder of inputs, which archives of ours do without; ``count``: of them at
    most; ``tolerance``: of scores; ``allow_code``: the archive's Python may run; ``accept_different``: write even what
    answers otherwise; ``replace``: a specification of the name may be overwritten; ``size``: height and width of a
    detector's input, pixels."""

    archive: Path
    samples: Path | None = None
    name: str | None = None
    allow_code: bool = False
    accept_different: bool = False
    replace: bool = False
    tolerance: float = parity.TOLERANCE
    count: int = 32
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Migration:
    """``kind``: stock, ours or own. ``spec``: the written specification, or ``version`` the published version."""

    model: str
    kind: str
    task: str
    handler: str
    same: bool
    rows: tuple[Row, ...]
    spec: Path | None = None
    version: int | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.model,
            "kind": self.kind,
            "task": self.task,
            "handler": self.handler,
            "same": self.same,
            "spec": None if self.spec is None else str(self.spec),
            "version": self.version,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
        }


def migrate(wish: Wish, settings: Settings, progress: Progress = lambda event: None) -> Migration:
    """Migrates one archive and compares it with itself; see docs/migrate.md.

    Raises ArchiveInvalid, MigrationRefused, SamplesInvalid, HandlerFailed, SourceInvalid, and what publishing raises.
    A migration that answers otherwise is returned, with nothing written, unless ``accept_different``."""
    return _Migration(wish, settings, progress).run()


class _Migration:
    """One run."""

    def __init__(self, wish: Wish, settings: Settings, progress: Progress) -> None:
        self.wish, self.settings = wish, settings
        self.steps = Steps(progress)

    def run(self) -> Migration:
        with workspace(self.settings.state_dir) as folder:
            with self.steps.step("read the archive"):
                root = unpack(self.wish.archive, folder / "archive")
                archive = read_archive(root, re.sub(r"[^\w.\- ]", "_", self.wish.archive.name))
            model = self._model(archive)
            way: Callable[[Archive, str, Path], Migration] = {
                "stock": self._stock,
                "ours": self._ours,
                "own": self._own,
            }[archive.kind]
            return way(archive, model, folder)

    def _stock(self, archive: Archive, model: str, folder: Path) -> Migration:
        from export.migrate import stock

        spec_path = self.settings.models_dir / f"{model}.yaml"
        if spec_path.exists() and not self.wish.replace:
            raise MigrationRefused(
                f"there is a specification {model} already", observed=spec_path, fix="give --name or --replace"
            )
        stock.check_stock(archive, self.wish.allow_code)
        samples = self._samples(image_files(self._folder, "sample"))
        home = home_of(model, self.settings.root, folder / "staged")
        with self.steps.step("map the handler"):
            stock.keep_files(archive, home.staged)
            size = self.wish.size or _one_size(samples)
            mapped = stock.map_stock(archive, model, home.staged, home.staged_root, size)
            text = _yaml({**mapped.values, **self._rest(mapped.values.get("gates", {}))}, archive)
            path = home.staged / f"{model}.yaml"
            write_atomically(path, text)
        rows = self._compare_stock(archive, mapped, path, samples, folder)
        same = parity.holds(rows)
        if written := same or self.wish.accept_different:
            write_atomically(path, home.settled(text))
            with home.moved():
                _write(spec_path, home.settled(text))
        return Migration(
            model=model,
            kind="stock",
            task=mapped.task,
            handler=archive.handler,
            same=same,
            rows=rows,
            spec=spec_path if written else None,
            notes=mapped.notes,
            seconds=self.steps.seconds,
        )

    def _compare_stock(
        self, archive: Archive, mapped: Any, path: Path, samples: Sequence[Path], folder: Path
    ) -> tuple[Row, ...]:
        from export.migrate.migrated import MigratedModel

        with self.steps.step("ask the migrated model"):
            migrated = MigratedModel(path, self.settings.model_copy(update={"root": folder / "staged"}))
            ours = [migrated.answer(sample.read_bytes()) for sample in samples]
        with self.steps.step("ask the archive's handler"):
            theirs = ask_original(archive, samples, folder / "asked")
        rows = []
        for sample, asked, answer in zip(samples, theirs, ours, strict=True):
            row = parity.unanswered(sample.name, asked, answer if isinstance(answer, str) else None)
            if row is None and not isinstance(answer, str):
                row = migrated.compare(sample.name, asked.answer or b"", answer, mapped.original, self.wish.tolerance)
            rows.append(_explained(row, sample) if row is not None else Row(sample.name, False, None))
        return tuple(rows)

    def _own(self, archive: Archive, model: str, folder: Path) -> Migration:
        from export.migrate.versions import Wrapped

        if not self.wish.allow_code:
            raise MigrationRefused(
                f"{archive.shown}: its handler is Python code, {archive.module.name}, which would be run here",
                observed="no --allow-code",
                expected="a stock handler, or leave to run this one",
                fix=f"read {archive.module.name} and what it imports; then give --allow-code",
            )
        samples = self._samples(_files(self._folder))
        with self.steps.step("wrap the handler"):
            wrapped = Wrapped(archive, model, folder / "version")
        with self.steps.step("ask the archive's handler"):
            theirs = ask_original(archive, samples, folder / "asked")
        with self.steps.step("ask the wrapped handler, in the serving environment"):
            python = self.settings.triton_env / "bin" / "python"
            ours = ask_served(python, wrapped.folder, archive.name, samples, folder / "asked")
        rows = tuple(self._row(sample.name, *pair) for sample, *pair in zip(samples, theirs, ours, strict=True))
        notes = () if archive.requirements is None else (f"the serving environment needs {archive.requirements}",)
        found = Migration(model, "own", "archive", archive.handler, parity.holds(rows), rows, notes=notes)
        good = [
            (sample, answer.answer) for sample, answer in zip(samples, ours, strict=True) if answer.answer is not None
        ]
        if not (found.same or self.wish.accept_different):
            return found
        if not good:
            raise MigrationRefused(
                f"{archive.shown}: a version is checked with an answer of its own before it serves, and there is none",
                observed=f"{len(rows)} samples, first {rows[0].sample}: {ours[0].error}",
                expected="a sample that the wrapped handler answers",
                fix="give --samples with an input that the handler takes",
            )
        publication = wrapped.publication(folder / "files", found.to_dict(), *good[0])
        return self._published(found, Repository(self.settings.repository).publish(publication))

    def _row(self, name: str, original: Asked, migrated: Asked) -> Row:
        row = parity.unanswered(name, original, migrated.error)
        if row is not None:
            return row
        return parity.compare_bytes(name, original.answer or b"", migrated.answer or b"", self.wish.tolerance)

    def _ours(self, archive: Archive, model: str, folder: Path) -> Migration:
        from export.migrate.versions import Ours

        with self.steps.step("ask the archive's networks"):
            ours = Ours(archive)
            if model != ours.contract.model:
                raise MigrationRefused(
                    f"{archive.shown}: a version keeps the name that its contract has",
                    observed=model,
                    expected=ours.contract.model,
                )
            answer = ours.answer(ours.golden.content)
        name = f"golden/input{ours.golden.suffix}"
        if isinstance(answer, dict):
            expected, given = (json.dumps(record).encode() for record in (ours.golden.record, answer))
            rows: tuple[Row, ...] = (parity.compare_bytes(name, expected, given, self.wish.tolerance),)
        else:
            rows = (Row(name, False, None, note=str(answer)),)
        found = Migration(model, "ours", ours.contract.task, archive.handler, parity.holds(rows), rows)
        if not (found.same or self.wish.accept_different):
            return found
        publication = ours.publication(folder / "files", found.to_dict())
        return self._published(found, Repository(self.settings.repository).publish(publication))

    def _published(self, found: Migration, version: int) -> Migration:
        return Migration(**{**vars(found), "version": version, "seconds": self.steps.seconds})

    def _model(self, archive: Archive) -> str:
        """The model's name here: the user's, else the archive's in small letters."""
        name = self.wish.name or re.sub(r"[^a-z0-9_-]", "_", archive.name.lower())
        if _NAME.fullmatch(name):
            return name
        raise MigrationRefused(
            f"{archive.shown}: its name is none of a model here",
            observed=name,
            expected="small letters, digits, _ and -, a letter first",
            fix="give --name",
        )

    @property
    def _folder(self) -> Path:
        if self.wish.samples is None:
            raise MigrationRefused(
                "nothing shows that the migrated model answers as its archive does",
                observed="no --samples",
                expected="a folder of real inputs",
                fix="give --samples",
            )
        return self.wish.samples

    def _samples(self, files: Sequence[Path]) -> list[Path]:
        """At most ``count``, spread evenly."""
        most = max(1, self.wish.count)
        step = max(1.0, len(files) / most)
        return [files[int(index * step)] for index in range(min(most, len(files)))]

    def _rest(self, gates: Mapping[str, Any]) -> dict[str, Any]:
        """What every written specification has: its samples, which are seldom labelled."""
        folder = self._folder.resolve()
        root = self.settings.root.resolve()
        inside = folder.relative_to(root) if folder.is_relative_to(root) else folder
        task = {"accept_unlabelled": True, "accept_undecided": True}
        return {"samples": inside.as_posix(), "gates": {**gates, "task": task}}


def refuse_different(found: Migration) -> None:
    """Raises MigrationDiffers unless the samples are answered alike."""
    if found.same:
        return
    wrong = [row for row in found.rows if row.same is False]
    if not wrong:
        raise MigrationDiffers(
            f"{found.model}: nothing shows that the migrated model answers as its archive does",
            observed=f"none of {len(found.rows)} samples is answered by the archive's handler: {found.rows[0].note}",
            expected="a sample that both sides answer",
            fix="give --samples with inputs that TorchServe answers; --accept-different writes it all the same",
        )
    raise MigrationDiffers(
        f"{found.model}: the migrated model does not answer as its archive does",
        observed=f"{len(wrong)} of {len(found.rows)} samples differ, "
        f"first {wrong[0].sample}: {wrong[0].note or wrong[0].worst_difference}",
        expected="the same answers within the tolerance",
        fix="look at the rows; --accept-different writes it all the same",
    )


def _files(folder: Path) -> list[Path]:
    """Any files: a handler of the user's own may take other inputs than images."""
    found = (
        sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".") if folder.is_dir() else []
    )
    if not found:
        raise SamplesInvalid("there are no sample inputs", observed=folder, expected="a folder of files")
    return found


def _one_size(samples: Sequence[Path]) -> tuple[int, int] | None:
    """Height and width of all samples, None where they differ or cannot be read."""
    sizes = set()
    for path in samples:
        try:
            with Image.open(path) as image:
                sizes.add((image.height, image.width))
        except OSError:
            return None
    return sizes.pop() if len(sizes) == 1 else None


def _explained(row: Row, sample: Path) -> Row:
    """A difference that EXIF explains is said to be one."""
    if row.same is not False or row.note:
        return row
    try:
        with Image.open(sample) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) != 1
    except OSError:
        turned = False
    if not turned:
        return row
    note = "the file is turned by EXIF, which the archive's handler does not see"
    return Row(row.sample, row.same, row.worst_difference, row.worst_pixels, note)


def _yaml(values: dict[str, Any], archive: Archive) -> str:
    head = (
        f"# Written by `slipway migrate` from {archive.shown} (handler {archive.handler}, version {archive.version}).\n"
    )
    return head + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True, width=118)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as problem:
        raise OutputUnwritable(
            "the specification cannot be written", observed=f"{path}: {problem.strerror}"
        ) from problem
