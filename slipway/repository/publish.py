"""Publishing one version: stage, lock, number, move the networks, then the public directory with its manifest.

The last rename is the commit. A publisher that dies before it leaves only a staging directory and perhaps network
directories without a manifest: neither is a version, and the next publisher (or ``collect``) removes them. Numbers
are given under an flock, which the kernel releases when its holder dies, so two publishers never share one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from slipway import manifest as manifests
from slipway.contract import Contract
from slipway.errors import PublishRefused
from slipway.files import sha256_file, sync_directory, sync_file, write_atomically
from slipway.manifest import FileEntry, Manifest
from slipway.repository import interface, layout
from slipway.repository.layout import CONFIG, LOCK, POINTER, STAGING_PREFIX, TRASH_PREFIX, Pointer

#: Called before each step that changes the repository, with the step's name; tests kill the process there.
OnStep = Callable[[str], None]
#: As in specifications; dots are for a model's networks.
_MODEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Publication:
    """What becomes one version.

    ``files``: model directory name (``digits``, ``digits.onnx``) -> path inside the version directory -> file.
    ``configs``: model directory name -> text of config.pbtxt; one for every directory of ``files``.
    ``model_files``: files beside config.pbtxt (warm-up data), shared by all versions.
    ``evidence``: the gates' numbers, summarised in the manifest. ``source``: what made the version.
    """

    contract: Contract
    files: dict[str, dict[str, Path]]
    configs: dict[str, str]
    model_files: dict[str, dict[str, Path]] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Name of the public model."""
        return self.contract.model

    @property
    def networks(self) -> list[str]:
        """Names of the network models."""
        return sorted(name for name in self.files if name != self.model)

    def check(self) -> None:
        """Raises PublishRefused for what can be seen to be wrong before anything is written."""
        for name in (*self.files, *self.configs, *self.model_files):
            self._check_name(name)
        for name, files in self.files.items():
            if name not in self.configs:
                raise PublishRefused(f"{name}: no config.pbtxt", expected="one for every model directory")
            for inside, path in files.items():
                _check_file(name, inside, path)
        for name, files in self.model_files.items():
            for inside, path in files.items():
                _check_file(name, inside, path)
        if "model.py" not in self.files.get(self.model, {}):
            raise PublishRefused(f"{self.model}: model.py is missing")
        network = self.contract.network
        if network.file not in self.files.get(network.model, {}):
            raise PublishRefused(
                f"{self.model}: the contract's network is not part of the publication",
                observed=sorted(self.files),
                expected=f"{network.model}: {network.file}",
            )

    def _check_name(self, name: str) -> None:
        """A name becomes a directory beside those of other models."""
        if not _MODEL.fullmatch(self.model):
            raise PublishRefused("not a name of a model", observed=self.model, expected=_MODEL.pattern)
        if name != self.model and not re.fullmatch(rf"{re.escape(self.model)}(\.[a-z0-9_-]+)+", name):
            raise PublishRefused("a directory of another model", observed=name, expected=f"{self.model}[.format]")


def _check_file(name: str, inside: str, path: Path) -> None:
    parts = PurePosixPath(inside)
    outside = not parts.parts or parts.is_absolute() or ".." in parts.parts
    if outside or str(parts) in ("contract.json", manifests.FILE_NAME):
        raise PublishRefused(f"{name}: {inside} is not a path that may be published")
    if not path.is_file():
        raise PublishRefused(f"{name}: {inside} is missing", observed=path)


def publish(root: Path, publication: Publication, on_step: OnStep = lambda step: None) -> int:
    """Publishes one version and returns its number; see the module's text for what a crash leaves behind.

    Raises PublishRefused or InterfaceChanged, with the repository as it was.
    """
    publication.check()
    home = root / publication.model
    on_step("create model directory")
    home.mkdir(parents=True, exist_ok=True)
    with _staging(home, on_step) as staging:
        _stage(staging, publication, on_step)
        on_step("lock")
        with locked(home):
            collect(root, publication.model, on_step)
            version = _commit(root, publication, staging, on_step)
    return version


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Holds the exclusive lock of one public model; waits for another holder, never for a dead one."""
    with (home / LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def collect(root: Path, model: str, on_step: OnStep = lambda step: None) -> list[Path]:
    """Removes what dead publishers and interrupted removals left; the caller holds the lock. Returns what went."""
    home = root / model
    there = set(layout.published(home))
    orphans = [
        directory / str(number)
        for directory in (home, *layout.network_directories(root, model))
        for number in layout.numbered(directory)
        if number not in there
    ]
    orphans += [item for item in home.glob(f"{STAGING_PREFIX}*") if _is_abandoned(item)]
    orphans += list(home.glob(f"{TRASH_PREFIX}*"))
    for path in orphans:
        on_step(f"remove leftover {path.name}")
        shutil.rmtree(path)
    return orphans


@contextlib.contextmanager
def _staging(home: Path, on_step: OnStep) -> Iterator[Path]:
    """A staging directory whose ``owner`` file is flocked while its publisher lives."""
    staging = home / f"{STAGING_PREFIX}{uuid.uuid4().hex[:12]}"
    on_step("create staging")
    staging.mkdir()
    try:
        with (staging / "owner").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_abandoned(staging: Path) -> bool:
    try:
        with (staging / "owner").open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        # Its publisher died, or lives between mkdir and open; a fresh directory is therefore left for a minute.
        return _age_seconds(staging) > 60
    return True


def _age_seconds(path: Path) -> float:
    import time

    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _stage(staging: Path, publication: Publication, on_step: OnStep) -> None:
    for name, files in publication.files.items():
        for inside, source in files.items():
            on_step(f"stage {name}/{inside}")
            target = staging / name / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            # A version never changes: nobody, its owner included, writes into it by mistake.
            target.chmod(0o444)
            sync_file(target)
    on_step("stage contract")
    write_atomically(staging / publication.model / "contract.json", publication.contract.to_json(), mode=0o444)


def _commit(root: Path, publication: Publication, staging: Path, on_step: OnStep) -> int:
    home = root / publication.model
    pointer = Pointer.read(home / POINTER)
    version = 1 + max([*layout.numbered(home), pointer.highest if pointer else 0])
    _write_configs(root, publication, on_step)
    for name in publication.networks:
        on_step(f"move {name}/{version}")
        (staging / name).rename(root / name / str(version))
        sync_directory(root / name)
    on_step("write manifest")
    manifest = _manifest(root, publication, staging, version)
    write_atomically(staging / publication.model / manifests.FILE_NAME, manifest.to_json(), mode=0o444)
    on_step(f"commit {publication.model}/{version}")
    (staging / publication.model).rename(home / str(version))
    sync_directory(home)
    on_step("write pointer")
    # A predecessor may have died between its commit and its pointer: then the lowest version is the stable one.
    stable, previous = (pointer.stable, pointer.previous) if pointer else (layout.published(home)[0], None)
    Pointer(stable=stable, previous=previous, highest=version, updated=layout.now()).write(home / POINTER)
    on_step("finish")
    return version


def _write_configs(root: Path, publication: Publication, on_step: OnStep) -> None:
    """Checks every config before the first is written, so that a refusal changes nothing."""
    for name, text in publication.configs.items():
        interface.parse_config(text, f"{name} (new)")
        path = root / name / CONFIG
        if path.is_file() and layout.numbered(root / name):
            interface.check_fits(path.read_text(encoding="utf-8"), text, name)
    for name, text in publication.configs.items():
        on_step(f"write {name}/{CONFIG}")
        (root / name).mkdir(exist_ok=True)
        for inside, source in publication.model_files.get(name, {}).items():
            target = root / name / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, source.read_bytes())
        write_atomically(root / name / CONFIG, text)


def _manifest(root: Path, publication: Publication, staging: Path, version: int) -> Manifest:
    files: dict[str, FileEntry] = {}
    for name in publication.files:
        directory = staging / name if name == publication.model else root / name / str(version)
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                key = f"{name}/{version}/{path.relative_to(directory).as_posix()}"
                files[key] = FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
    return Manifest(
        model=publication.model,
        version=version,
        contract_hash=publication.contract.hash,
        created=layout.now(),
        files=files,
        networks=publication.networks,
        source=publication.source,
        evidence=publication.evidence,
    )


def remove_version(root: Path, model: str, version: int, networks: list[str]) -> None:
    """Removes one version; the first rename ends its existence, a crash after it leaves leftovers for ``collect``."""
    home = root / model
    trash = home / f"{TRASH_PREFIX}{uuid.uuid4().hex[:12]}"
    os.rename(home / str(version), trash)  # noqa: PTH104 - the same call as Path.rename, kept beside its reason
    sync_directory(home)
    for name in networks:
        shutil.rmtree(root / name / str(version), ignore_errors=True)
    shutil.rmtree(trash)
