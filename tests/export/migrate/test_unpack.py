"""Archives of strangers: nothing is written outside of the folder, and damaged ones are refused with their reason."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from export.migrate.unpack import Limits, unpack
from slipway.errors import ArchiveInvalid, InputFileUnreadable

MANIFEST = b'{"model": {"modelName": "m", "handler": "image_classifier"}}'


def zipped(path: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"MAR-INF/MANIFEST.json": MANIFEST, **members}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change is not None and name in members:
                change(info)
            archive.writestr(info, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, prefix: str = "m/") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        manifest = tarfile.TarInfo(f"{prefix}MAR-INF/MANIFEST.json")
        manifest.size = len(MANIFEST)
        archive.addfile(manifest, io.BytesIO(MANIFEST))
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    "name", ["../outside.py", "a/../../outside.py", "/tmp/outside.py", "C:/outside.py", "..\\outside.py"]
)
def test_a_member_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    for path in (zipped(tmp_path / "a.mar", {name: b"x"}), tarred(tmp_path / "a.tar.gz", member(name))):
        with pytest.raises(ArchiveInvalid, match="path out of the archive") as problem:
            unpack(path, tmp_path / f"out-{path.suffix}")
        assert problem.value.fix and problem.value.expected
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written == {"a.mar", "a.tar.gz", "out-.mar", "out-.gz"}


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    cases = [
        zipped(tmp_path / "link.mar", {"weights.pt": b"/etc/passwd"}, as_link),
        tarred(tmp_path / "soft.tar.gz", member("m/weights.pt", tarfile.SYMTYPE, "/etc/passwd")),
        tarred(tmp_path / "hard.tar.gz", member("m/weights.pt", tarfile.LNKTYPE, "m/MAR-INF/MANIFEST.json")),
        tarred(tmp_path / "device.tar.gz", member("m/weights.pt", tarfile.CHRTYPE)),
    ]
    folder = tmp_path / "folder"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF/MANIFEST.json").write_bytes(MANIFEST)
    (folder / "weights.pt").symlink_to("/etc/passwd")
    for number, path in enumerate([*cases, folder]):
        with pytest.raises(ArchiveInvalid, match=r"refused.*link or a device"):
            unpack(path, tmp_path / f"out{number}")


def test_a_bomb_stops_early(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.mar", {"zeros.bin": bytes(80 << 20)})
    limits = Limits(free_bytes=1 << 20)
    assert path.stat().st_size < 200_000
    with pytest.raises(ArchiveInvalid, match="unpacks to too many bytes"):
        unpack(path, tmp_path / "out", limits)
    written = sum(item.stat().st_size for item in (tmp_path / "out").rglob("*") if item.is_file())
    assert written <= path.stat().st_size * limits.ratio < 80 << 20
    many = zipped(tmp_path / "many.mar", {f"f{index}": b"" for index in range(30)})
    with pytest.raises(ArchiveInvalid, match="too many members"):
        unpack(many, tmp_path / "many", Limits(files=20))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.mar", {"weights.pt": bytes(range(256)) * 400}).read_bytes()
    broken = {
        "cut.mar": whole[: len(whole) // 2],
        "flipped.mar": whole[:400] + bytes([whole[400] ^ 255]) + whole[401:],
        "empty.mar": b"",
        "text.mar": b"no archive at all",
        "cut.tar.gz": tarred(tmp_path / "t.tar.gz", member("m/a")).read_bytes()[:60],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArchiveInvalid) as problem:
            unpack(tmp_path / name, tmp_path / f"out-{name}")
        assert problem.value.code == "ARCHIVE_INVALID"
        assert problem.value.exit_code == 3
    with pytest.raises(InputFileUnreadable):
        unpack(tmp_path / "none.mar", tmp_path / "out")


def test_a_member_twice_or_without_manifest(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.mar", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("MAR-INF/MANIFEST.json", MANIFEST)
        archive.writestr("a.py", "1")
        archive.writestr("a.py", "2")
    with pytest.raises(ArchiveInvalid, match="refused"):
        unpack(tmp_path / "twice.mar", tmp_path / "twice")
    with zipfile.ZipFile(tmp_path / "none.mar", "w") as archive:
        archive.writestr("model.pt", b"")
    with pytest.raises(ArchiveInvalid, match="no TorchServe archive") as problem:
        unpack(tmp_path / "none.mar", tmp_path / "none")
    assert "model.pt" in str(problem.value.observed)


def test_all_three_forms_give_the_same_files(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF/MANIFEST.json").write_bytes(MANIFEST)
    (folder / "a").write_bytes(b"x")
    forms = [zipped(tmp_path / "m.mar", {"a": b"x"}), tarred(tmp_path / "m.tar.gz", member("m/a")), folder]
    for number, path in enumerate(forms):
        root = unpack(path, tmp_path / f"out{number}")
        found = {item.relative_to(root).as_posix(): item.read_bytes() for item in root.rglob("*") if item.is_file()}
        assert found == {"MAR-INF/MANIFEST.json": MANIFEST, "a": b"x"}
