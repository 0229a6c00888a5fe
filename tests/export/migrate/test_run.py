"""Real archives of every kind become specifications and versions, compared with their own handlers in TorchServe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from export.migrate.run import Wish, migrate, refuse_different
from slipway.errors import HandlerFailed, MigrationDiffers, MigrationRefused, OutputUnwritable, SourceInvalid
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export.migrate import archives


def marked(path: Path) -> str:
    """A line of Python that leaves a mark when it runs."""
    return f"__import__('pathlib').Path({str(path)!r}).touch()"


def test_image_classifier(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    archive = archives.classifier(tmp_path / "a", name="Digits.V2")
    found = migrate(Wish(archive, photographs), settings)
    assert (found.model, found.kind, found.task, found.same) == ("digits_v2", "stock", "classification", True)
    assert len(found.rows) == 16
    assert all(row.same and row.worst_difference < 1e-3 for row in found.rows)
    assert found.spec is not None
    spec = ModelSpec.load(found.spec)
    assert spec.labels == tuple(archives.NAMES)
    assert (spec.one_input.resize_to, spec.one_input.height, spec.postprocess.top_k) == (256, 224, 5)
    with pytest.raises(MigrationRefused, match="already"):
        migrate(Wish(archive, photographs), settings)
    again = migrate(Wish(archive, photographs, count=1, replace=True), settings)
    assert len(again.rows) == 1


def test_image_segmenter_and_object_detector(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    for archive, task in (
        (archives.segmenter(tmp_path / "s"), "segmentation"),
        (archives.detector(tmp_path / "d"), "detection"),
    ):
        found = migrate(Wish(archive, photographs, count=4), settings)
        assert (found.task, found.same, len(found.rows)) == (task, True, 4)
        assert found.spec is not None
        assert ModelSpec.load(found.spec).task == task
    with Image.open(next(photographs.iterdir())) as image:
        image.resize((200, 100)).save(tmp_path / "small.png")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in (tmp_path / "small.png", sorted(photographs.iterdir())[0]):
        (mixed / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MigrationRefused, match="any size"):
        migrate(Wish(tmp_path / "d/store/bright", mixed, name="other"), settings)


def test_a_difference_is_found_explained_and_writes_nothing(
    tmp_path: Path, photographs: Path, settings: Settings
) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted(photographs.iterdir())[4:6]:
        with Image.open(path) as image:
            image.save(folder / f"{path.stem}.jpg", exif=exif, quality=95)
    found = migrate(Wish(archives.classifier(tmp_path / "a"), folder), settings)
    assert not found.same
    assert [row.same for row in found.rows] == [False, False]
    assert any("EXIF" in row.note or "best label" in row.note for row in found.rows)
    assert found.spec is None
    assert not list(settings.models_dir.iterdir())
    with pytest.raises(MigrationDiffers, match="does not answer"):
        refuse_different(found)
    forced = migrate(Wish(tmp_path / "a/store/Digits.mar", folder, accept_different=True), settings)
    assert forced.spec is not None


def test_what_the_archive_cannot_answer_shows_nothing(tmp_path: Path, grey: Path, settings: Settings) -> None:
    found = migrate(Wish(archives.classifier(tmp_path / "a"), grey), settings)
    assert [row.same for row in found.rows] == [None, None]
    assert all("only the migrated model answers" in row.note for row in found.rows)
    assert not found.same
    with pytest.raises(MigrationDiffers, match="nothing shows"):
        refuse_different(found)


def test_samples_that_both_sides_refuse_show_nothing(tmp_path: Path, settings: Settings) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx")
    found = migrate(Wish(archives.classifier(tmp_path / "a"), broken), settings)
    assert [(row.same, row.note) for row in found.rows] == [(None, "both refuse it")]
    assert (found.same, found.spec) == (False, None)
    assert not list(settings.models_dir.iterdir())
    with pytest.raises(MigrationDiffers, match="nothing shows") as problem:
        refuse_different(found)
    assert "--samples" in (problem.value.fix or "")
    archive = archives.own(tmp_path / "o")
    own = migrate(Wish(archive, broken, allow_code=True), settings)
    assert (own.same, own.version) == (False, None)
    # a version without one answer could not be checked when it is served
    with pytest.raises(MigrationRefused, match="answer of its own"):
        migrate(Wish(archive, broken, allow_code=True, accept_different=True), settings)


class Odd(torch.nn.Module):
    """Answers in a shape that no classifier has."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float[N, 3, 1]."""
        return images.mean((2, 3)).unsqueeze(2)


def kept(settings: Settings) -> dict[str, bytes]:
    """Every file of migrations and specifications."""
    folders = (settings.root / "var/migrated", settings.models_dir)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(settings.root).as_posix(): path.read_bytes() for path in files}


def test_a_refused_migration_leaves_the_earlier_one(
    tmp_path: Path, photographs: Path, grey: Path, settings: Settings
) -> None:
    archive = archives.classifier(tmp_path / "a")
    first = migrate(Wish(archive, photographs, name="cat-dog", count=1), settings)
    assert first.spec is not None
    before = kept(settings)
    script = archives.scripted(Odd(), tmp_path / "odd.pt")
    odd = archives.pack(tmp_path, "odd", "image_classifier", serialized_file=script)
    with pytest.raises(MigrationRefused, match="does not answer as"):
        migrate(Wish(odd, photographs, name="cat-dog", replace=True), settings)
    assert kept(settings) == before
    assert not migrate(Wish(archives.classifier(tmp_path / "b"), grey, name="cat-dog", replace=True), settings).same
    assert kept(settings) == before
    # neither does a model whose name differs in the dash alone
    second = migrate(Wish(archive, photographs, name="cat_dog", count=1), settings)
    assert second.spec is not None
    assert before.items() <= kept(settings).items()
    files = {str(ModelSpec.load(found.spec).one_source.torchscript) for found in (first, second) if found.spec}
    assert len(files) == 2
    assert all((settings.root / file).is_file() for file in files)


def test_a_specification_that_cannot_be_written_leaves_the_earlier_files(
    tmp_path: Path, photographs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archives.classifier(tmp_path / "a")
    migrate(Wish(archive, photographs, name="m", count=1), settings)
    before = kept(settings)

    def refuse(*_: object) -> None:
        raise OutputUnwritable("no room", observed="a full disk")

    monkeypatch.setattr("export.migrate.run._write", refuse)
    script = archives.scripted(archives.Classifier(), tmp_path / "other.pt")
    other = archives.pack(tmp_path, "m", "image_classifier", serialized_file=script, files=archives.mapping())
    with pytest.raises(OutputUnwritable):
        migrate(Wish(other, photographs, count=1, replace=True), settings)
    assert kept(settings) == before
    assert [path.name for path in (settings.root / "var/migrated").iterdir()] == ["m"]


def test_no_code_runs_without_leave(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    mark = tmp_path / "mark"
    for archive in (
        archives.eager(tmp_path / "e", first=marked(mark)),
        archives.own(tmp_path / "o", first=marked(mark)),
    ):
        with pytest.raises(MigrationRefused, match="Python code") as problem:
            migrate(Wish(archive, photographs), settings)
        assert "--allow-code" in (problem.value.fix or "")
    assert not mark.exists()
    # a stock handler, and beside it modules with names that everything imports
    folder = tmp_path / "c"
    folder.mkdir()
    script = archives.scripted(archives.Classifier(), folder / "model.pt")
    hostile = {f"{name}.py": marked(mark) for name in ("json", "torch", "yaml", "numpy", "captum", "ts")}
    archive = archives.pack(
        folder, "hostile", "image_classifier", serialized_file=script, files={**archives.mapping(), **hostile}
    )
    found = migrate(Wish(archive, photographs, count=2), settings)
    assert found.same
    assert not mark.exists()


def test_eager_code_with_leave(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    mark = tmp_path / "mark"
    archive = archives.eager(tmp_path / "e", first=marked(mark))
    found = migrate(Wish(archive, photographs, count=3, allow_code=True), settings)
    assert found.same
    assert mark.exists()
    assert found.spec is not None
    assert ModelSpec.load(found.spec).one_source.factory == "var.migrated.eager.factory:build"


class Writes(archives.Classifier):
    """TorchScript that writes a file when it is asked."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, self.path)
        return self.digits(self.pixels(images))


def test_a_detector_as_code_is_refused(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    archive = archives.eager(tmp_path / "e", handler="object_detector")
    with pytest.raises(MigrationRefused, match="detector given as Python code"):
        migrate(Wish(archive, photographs, allow_code=True), settings)


def test_torchscript_that_reaches_files_is_refused(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    target = tmp_path / "written"
    script = archives.scripted(Writes(str(target)), tmp_path / "model.pt")
    archive = archives.pack(tmp_path, "w", "image_classifier", serialized_file=script, files=archives.mapping())
    with pytest.raises(SourceInvalid, match="reaches files"):
        migrate(Wish(archive, photographs), settings)
    assert not target.exists()


def test_an_own_handler_is_wrapped(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    (tmp_path / "inputs").mkdir()
    for path in sorted(photographs.iterdir())[:3]:
        (tmp_path / "inputs" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "inputs/noise.bin").write_bytes(b"\x00" * 100)
    archive = archives.own(tmp_path / "o")
    found = migrate(Wish(archive, tmp_path / "inputs", allow_code=True), settings)
    assert (found.kind, found.same, found.version, found.spec) == ("own", True, 1, None)
    assert {row.sample: (row.same, row.note) for row in found.rows}["noise.bin"] == (None, "both refuse it")
    repository = Repository(settings.repository)
    repository.verify("own-digits", 1)
    contract = repository.contract("own-digits", 1)
    assert (contract.task, contract.networks()) == ("archive", {})


def test_an_own_handler_that_does_not_start(tmp_path: Path, photographs: Path, settings: Settings) -> None:
    archive = archives.own(tmp_path / "o", first="import no_such_package_of_the_user")
    with pytest.raises(HandlerFailed, match="cannot start") as problem:
        migrate(Wish(archive, photographs, allow_code=True), settings)
    assert "no_such_package_of_the_user" in str(problem.value.observed)


@pytest.mark.parametrize(
    ("wish", "words"),
    [({"samples": None}, "nothing shows"), ({"name": "Not A Name"}, "its name"), ({"name": "../up"}, "its name")],
)
def test_wishes_that_are_refused(
    tmp_path: Path, photographs: Path, settings: Settings, wish: dict[str, Any], words: str
) -> None:
    archive = archives.classifier(tmp_path / "a")
    with pytest.raises(MigrationRefused, match=words):
        migrate(Wish(**{"archive": archive, "samples": photographs, **wish}), settings)
