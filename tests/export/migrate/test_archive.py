"""What an archive says about itself is read without running it, and mistakes in it are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.migrate.archive import read_archive
from slipway.errors import ArchiveInvalid, MigrationRefused


def unpacked(folder: Path, model: Any = None, manifest: str | None = None, **files: str) -> Path:
    (folder / "MAR-INF").mkdir(parents=True)
    values = {"modelName": "m", "handler": "image_classifier", "modelVersion": "1.0", **(model or {})}
    text = json.dumps({"runtime": "python", "model": values}) if manifest is None else manifest
    (folder / "MAR-INF/MANIFEST.json").write_text(text, encoding="utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return folder


def test_kinds_of_handlers(tmp_path: Path) -> None:
    assert read_archive(unpacked(tmp_path / "a"), "a.mar").kind == "stock"
    own = read_archive(unpacked(tmp_path / "b", {"handler": "mine.py"}, mine__py="raise SystemExit"), "b.mar")
    assert (own.kind, own.runs_code) == ("own", True)
    # TorchServe would import the archive's own module of that name
    hidden = read_archive(unpacked(tmp_path / "c", image_classifier__py="raise SystemExit"), "c.mar")
    assert hidden.kind == "own"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "no object"),
        ("{}", "no model"),
        ('{"model": {"handler": "image_classifier"}}', "modelName"),
        ('{"model": {"modelName": "m"}}', "handler"),
        ('{"model": {"modelName": "m", "handler": "../../evil.py"}}', "handler"),
        (
            '{"model": {"modelName": "m", "handler": "image_classifier", "modelVersion": "1\\nformats: [x]"}}',
            "modelVer",
        ),
        ('{"model": {"modelName": "m", "handler": "image_classifier", "serializedFile": "gone.pt"}}', "gone.pt"),
        ('{"model": {"modelName": "m", "handler": "image_classifier", "serializedFile": 7}}', "serializedFile"),
        ('{"model": {"modelName": "m", "handler": "no_such_handler"}}', "unknown"),
        ('{"model": {"modelName": "m", "handler": "image_classifier", "configFile": "none.yaml"}}', "configFile"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, manifest: str, words: str) -> None:
    with pytest.raises(ArchiveInvalid, match=words) as problem:
        read_archive(unpacked(tmp_path / "a", manifest=manifest), "a.mar")
    assert problem.value.observed is not None
    assert problem.value.expected is not None


@pytest.mark.parametrize("handler", ["text_classifier", "base_handler", "vllm_handler"])
def test_handlers_without_images_are_refused(tmp_path: Path, handler: str) -> None:
    with pytest.raises(MigrationRefused, match=handler):
        read_archive(unpacked(tmp_path / "a", {"handler": handler}), "a.mar")


def test_a_mapping_as_torchserve_reads_it(tmp_path: Path) -> None:
    """ts.utils.util.load_label_mapping is the reference."""
    from ts.utils.util import load_label_mapping

    forms = [
        {"0": "cat", "1": "dog"},
        {"0": ["n02123045", "tabby"], "1": ["n02099601", "golden_retriever"]},
        {"object_type_names": ["person", "car"]},
    ]
    for number, form in enumerate(forms):
        folder = unpacked(tmp_path / str(number), index_to_name__json=json.dumps(form))
        theirs = load_label_mapping(str(folder / "index_to_name.json"))
        found = read_archive(folder, "a.mar").mapping
        assert found is not None
        assert {str(key): name for key, name in found.items()} == theirs
    for wrong in ('{"a": "cat"}', '{"0": 1}', '{"0": []}', "[]", '{"0": " "}'):
        folder = unpacked(tmp_path / f"w{hash(wrong)}", index_to_name__json=wrong)
        with pytest.raises(ArchiveInvalid, match="index_to_name"):
            read_archive(folder, "a.mar")


def test_model_config(tmp_path: Path) -> None:
    text = "minWorkers: 2\nmaxWorkers: 4\nbatchSize: 16\nmaxBatchDelay: 20\nhandler: {profile: true}\n"
    archive = read_archive(unpacked(tmp_path / "a", {"configFile": "c.yaml"}, c__yaml=text), "a.mar")
    assert (archive.workers, archive.batch_size, archive.delay_microseconds) == (2, 16, 20_000)
    plain = read_archive(unpacked(tmp_path / "b"), "a.mar")
    assert (plain.workers, plain.batch_size, plain.delay_microseconds) == (None, 1, 0)
    for number, wrong in enumerate(("a: [", "- 1", "batchSize: many", "batchSize: -1", "!!python/object:os.system {}")):
        folder = unpacked(tmp_path / f"w{number}", {"configFile": "c.yaml"}, c__yaml=wrong)
        with pytest.raises(ArchiveInvalid):
            assert read_archive(folder, "a.mar").batch_size
