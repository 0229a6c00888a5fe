"""Archives of strangers: nothing is written outside of the folder, and damaged ones are refused with their reason."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
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


EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def extended(path: Path, kind: bytes, size: int, times: int = 1) -> Path:
    """A .tar.gz that begins with ``times`` extended headers of ``size`` bytes of nothing."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    padded = size + -size % tarfile.BLOCKSIZE
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(times):
            stream.write(header.tobuf(format=tarfile.GNU_FORMAT))
            for start in range(0, padded, 1 << 20):
                stream.write(bytes(min(1 << 20, padded - start)))
        stream.write(bytes(1024))
    return path


@pytest.mark.parametrize("kind", EXTENDED)
def test_a_huge_extended_header_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = extended(tmp_path / "huge.tar.gz", kind, 96 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveInvalid, match="header"):
            unpack(path, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_many_extended_headers_are_refused(tmp_path: Path) -> None:
    for number, (size, times) in enumerate(((600 << 10, 4), (0, 5000))):
        path = extended(tmp_path / f"{number}.tar.gz", tarfile.XHDTYPE, size, times)
        with pytest.raises(ArchiveInvalid):
            unpack(path, tmp_path / f"out{number}")


def test_many_members_with_large_headers_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "many.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(100):
            info = member(f"m/{number}")
            info.pax_headers = {"comment": "x" * (900 << 10)}
            archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(ArchiveInvalid, match="header"):
        unpack(tmp_path / "many.tar.gz", tmp_path / "out")


def test_many_folders_are_unpacked_and_sparse_files_refused(tmp_path: Path) -> None:
    folders = [member(f"m/{number}", tarfile.DIRTYPE) for number in range(4000)]
    assert unpack(tarred(tmp_path / "folders.tar.gz", *folders), tmp_path / "out").is_dir()
    info = member("m/weights.pt")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9000000", "GNU.sparse.name": "m/weights.pt"}
    with pytest.raises(ArchiveInvalid, match="a sparse file"):
        unpack(tarred(tmp_path / "sparse.tar.gz", info), tmp_path / "sparse")


def test_long_names_and_large_members_of_a_tar_are_unpacked(tmp_path: Path) -> None:
    name = "m/" + "/".join(["folder" * 10] * 5) + "/weights.pt"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        for mode in ("w:gz", "w:"):
            path = tmp_path / f"{form}{mode[2:]}.tar"
            content = os.urandom((3 << 20) + 7)
            with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
                for inside, data in (("m/MAR-INF/MANIFEST.json", MANIFEST), (name, content), ("m/z", b"z")):
                    info = tarfile.TarInfo(inside)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            root = unpack(path, tmp_path / f"out{form}{mode[2:]}")
            assert (root.parent / name).read_bytes() == content
            assert (root / "z").read_bytes() == b"z"


def test_names_that_are_no_text_and_damaged_members_are_refused(tmp_path: Path) -> None:
    named, squeezed, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(named, "w") as archive:
        archive.writestr("\u00e9.txt", "x")
    with zipfile.ZipFile(squeezed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", os.urandom(1000))
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        info = tarfile.TarInfo("m/MAR-INF/MANIFEST.json")
        info.size = 300_000
        archive.addfile(info, io.BytesIO(os.urandom(info.size)))
    broken = {
        "name.mar": named.getvalue().replace("\u00e9".encode(), b"\xff\xfe"),
        "lzma.mar": squeezed.getvalue()[:300] + b"\xff" * 40 + squeezed.getvalue()[340:],
        "xz.tar.xz": packed.getvalue()[:200_000] + b"\xff" * 50 + packed.getvalue()[200_050:],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArchiveInvalid, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / f"out-{name}")
