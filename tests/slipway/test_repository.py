"""The repository: versions, verification, pointer, rollback, garbage, interfaces that must not change."""

import dataclasses
from pathlib import Path

import pytest

from slipway import errors
from slipway.repository import Repository
from tests.slipway.publishing import CONTRACT, config_text, publication


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    for content in (b"first", b"second", b"third"):
        made.publish(publication(tmp_path / "files", content=content))
    return made


def test_a_version_is_a_plain_triton_tree(repository: Repository) -> None:
    assert repository.models() == ["digits"]
    assert repository.versions("digits") == [1, 2, 3]
    assert (repository.path / "digits.onnx/2/model.onnx").read_bytes() == b"second" * 1000
    assert (repository.path / "digits.onnx/config.pbtxt").is_file()
    assert (repository.path / "digits/warmup/image").is_file()
    assert repository.contract("digits", 2) == CONTRACT
    manifest = repository.verify("digits", 2)
    assert manifest.networks == ["digits.onnx"]
    assert set(manifest.files) == {"digits/2/model.py", "digits/2/contract.json", "digits.onnx/2/model.onnx"}


def test_names_that_are_not_versions_are_ignored(repository: Repository) -> None:
    for name in ("04", "four", "-1", "5", "٣"):
        (repository.path / "digits" / name).mkdir()
    assert repository.versions("digits") == [1, 2, 3]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "another sha256"),
        (lambda path: path.write_bytes(b"short"), "bytes, not"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.parent / "added").write_text("?"), "not in the manifest"),
    ],
)
def test_damage_is_found(repository: Repository, damage, words: str) -> None:
    path = repository.path / "digits.onnx/2/model.onnx"
    path.chmod(0o644)
    damage(path)
    with pytest.raises(errors.RepositoryDamaged, match=words):
        repository.verify("digits", 2)
    repository.verify("digits", 1)


def test_an_edited_contract_is_found(repository: Repository) -> None:
    path = repository.path / "digits/2/contract.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"stretch"', '"letterbox"'))
    with pytest.raises(errors.ContractInvalid, match="hash"):
        repository.contract("digits", 2)


def test_pointer_and_rollback(repository: Repository) -> None:
    assert repository.pointer("digits").stable == 1
    with pytest.raises(errors.RollbackImpossible):
        repository.rollback("digits")
    repository.set_pointer("digits", 3)
    assert (repository.pointer("digits").stable, repository.pointer("digits").previous) == (3, 1)
    assert repository.set_pointer("digits", 3).previous == 1
    assert repository.rollback("digits").stable == 1
    assert repository.rollback("digits", to=2).previous == 1
    with pytest.raises(errors.VersionNotFound):
        repository.set_pointer("digits", 9)
    with pytest.raises(errors.ModelNotFound):
        repository.rollback("unknown")


def test_garbage_keeps_what_the_pointer_names_and_numbers_are_not_reused(
    repository: Repository, tmp_path: Path
) -> None:
    repository.set_pointer("digits", 2)
    assert repository.collect_garbage(keep=0) == ["digits/3"]
    assert repository.versions("digits") == [1, 2]
    assert not (repository.path / "digits.onnx/3").exists()
    assert repository.publish(publication(tmp_path / "files")) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output_type": "TYPE_INT64"}, "logits changes"),
        ({"max_batch_size": 4}, "max_batch_size shrinks"),
    ],
)
def test_an_interface_that_changes_is_refused_with_nothing_written(
    repository: Repository, tmp_path: Path, change: dict, words: str
) -> None:
    before = (repository.path / "digits/config.pbtxt").read_text()
    with pytest.raises(errors.InterfaceChanged, match=words):
        repository.publish(publication(tmp_path / "files", **change))
    assert repository.versions("digits") == [1, 2, 3]
    assert (repository.path / "digits/config.pbtxt").read_text() == before


def test_more_classes_fit_where_the_served_config_says_minus_one(repository: Repository, tmp_path: Path) -> None:
    assert repository.publish(publication(tmp_path / "files", outputs=-1)) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {"digits": {}}}, "model.py"),
        ({"configs": {"digits": config_text("digits")}}, "config.pbtxt"),
        ({"configs": {"digits": "nonsense {", "digits.onnx": ""}}, "not a Triton model configuration"),
        ({"files": {"other": {}}}, "another model"),
        ({"model_files": {"digits": {"../../evil": Path(__file__)}}}, "may be published"),
        ({"model_files": {"digits": {"": Path(__file__)}}}, "may be published"),
        ({"model_files": {"digits": {"./contract.json": Path(__file__)}}}, "may be published"),
    ],
)
def test_an_incomplete_publication_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    repository = Repository(tmp_path / "empty")
    with pytest.raises(errors.PublishRefused, match=words):
        repository.publish(dataclasses.replace(publication(tmp_path / "files"), **change))
    assert repository.models() == []


@pytest.mark.parametrize("part", ["files", "configs", "model_files"])
@pytest.mark.parametrize(
    "name",
    ["digits.onnx/../../evil", "digits.onnx/../victim", "digits./../evil", "digits.", "digits..onnx", "digits.onnx/",
     "digits.ONNX", "digits.onnx\n", "digitsXonnx", "../digits.onnx", "/digits.onnx", ""],
)  # fmt: skip
def test_a_directory_of_another_model_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, part: str
) -> None:
    repository = Repository(tmp_path / "within" / "repository")
    good = publication(tmp_path / "files")
    more = {"files": {"payload": Path(__file__)}, "configs": config_text("digits"), "model_files": {}}
    configs = {**good.configs, name: config_text("digits")} if part == "files" else good.configs
    change = {"configs": configs, part: {**getattr(good, part), name: more[part]}}
    with pytest.raises(errors.PublishRefused, match="another model"):
        repository.publish(dataclasses.replace(good, **change))
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize("model", ["../digits", "a/b", "", "digits.onnx", "Digits", "."])
def test_a_model_of_no_plain_name_is_not_published(tmp_path: Path, model: str) -> None:
    good = publication(tmp_path / "files")
    with pytest.raises(errors.PublishRefused, match="not a name of a model"):
        Repository(tmp_path / "repository").publish(
            dataclasses.replace(good, contract=dataclasses.replace(CONTRACT, model=model))
        )
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize("network", ["digits.torch-export", "digits.age.onnx", "digits.tensorrt_int8.v2"])
def test_networks_of_any_format_are_published(tmp_path: Path, network: str) -> None:
    good = publication(tmp_path / "files")
    files = {**good.files, network: good.files["digits.onnx"]}
    made = dataclasses.replace(good, files=files, configs={**good.configs, network: config_text(network)})
    repository = Repository(tmp_path / "repository")
    assert repository.publish(made) == 1 and network in repository.verify("digits", 1).networks


def test_published_files_are_read_only(repository: Repository) -> None:
    modes = {path.stat().st_mode & 0o222 for path in (repository.path / "digits/1").rglob("*") if path.is_file()}
    assert modes == {0}


@pytest.mark.parametrize("keep", [3, 4, 9])
def test_garbage_with_more_to_keep_than_there_is_removes_nothing(repository: Repository, keep: int) -> None:
    assert repository.collect_garbage(keep=keep) == []
    assert repository.versions("digits") == [1, 2, 3]


def test_garbage_of_a_repository_that_is_not_there(tmp_path: Path) -> None:
    assert Repository(tmp_path / "none").collect_garbage() == []


@pytest.mark.parametrize("name", ["digits/", "../repository/digits", ".", "", "digits.onnx", "Digits", "/etc"])
def test_a_name_that_is_a_path_is_no_model(repository: Repository, name: str) -> None:
    for act in (repository.versions, repository.pointer, lambda model: repository.set_pointer(model, 1)):
        with pytest.raises(errors.ModelNotFound):
            act(name)


@pytest.mark.parametrize("text", ["{bad", '{"stable": "2", "previous": null, "highest": "x", "updated": "n"}', "[]"])
def test_a_damaged_pointer_is_named_and_mended_by_promoting(repository: Repository, text: str) -> None:
    (repository.path / "digits/pointer.json").write_text(text)
    with pytest.raises(errors.RepositoryDamaged, match="rollback MODEL --to"):
        repository.pointer("digits")
    assert repository.pointer_or_none("digits") is None
    assert repository.set_pointer("digits", 2).stable == 2
    repository.check_pointer("digits")


def test_a_pointer_to_nowhere_is_found_and_never_becomes_previous(repository: Repository) -> None:
    path = repository.path / "digits/pointer.json"
    path.write_text(path.read_text().replace('"stable": 1', '"stable": 9'))
    with pytest.raises(errors.RepositoryDamaged, match="does not exist"):
        repository.check_pointer("digits")
    assert repository.set_pointer("digits", 2).previous is None


def test_a_refused_promotion_gives_the_rollback_target_back(repository: Repository) -> None:
    repository.set_pointer("digits", 3)
    before = repository.pointer("digits")
    written = repository.set_pointer("digits", 2)
    repository.restore_pointer("digits", before, written)
    assert repository.pointer("digits") == before
    other = repository.set_pointer("digits", 1)
    repository.restore_pointer("digits", before, written)
    assert repository.pointer("digits") == other


def test_a_repository_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OutputUnwritable):
        Repository(tmp_path / "file").check_writable()
