"""Repository: what is published, whether it is whole, which version answers, and how to go back."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from slipway import experiment
from slipway import manifest as manifests
from slipway.contract import Contract
from slipway.errors import ModelNotFound, OutputUnwritable, RepositoryDamaged, RollbackImpossible, VersionNotFound
from slipway.files import sha256_file
from slipway.manifest import Manifest
from slipway.repository import layout
from slipway.repository.layout import POINTER, Pointer
from slipway.repository.publish import OnStep, Publication, collect, locked, publish, remove_version

#: The names that a specification may give: nothing that is a path gets further than this.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Repository:
    """A model repository on a local file system. Every method reads the disk: several processes may work on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def models(self) -> list[str]:
        """Names of the public models that have a version, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(
            item.name
            for item in self.path.iterdir()
            if item.is_dir() and _NAME.fullmatch(item.name) and layout.published(item)
        )

    def versions(self, model: str) -> list[int]:
        """Published versions of a model, ascending; raises ModelNotFound, for a name that is a path too."""
        found = layout.published(self.path / model) if _NAME.fullmatch(model) else []
        if not found:
            raise ModelNotFound(
                f"the repository has no model {model!r}",
                observed=f"models: {', '.join(self.models()) or 'none'}",
                fix=f"publish it with `slipway export {model}`",
            )
        return found

    def version_dir(self, model: str, version: int) -> Path:
        """The public directory of a published version; raises ModelNotFound or VersionNotFound."""
        found = self.versions(model)
        if version not in found:
            raise VersionNotFound(f"{model} has no version {version}", observed=found)
        return self.path / model / str(version)

    def manifest(self, model: str, version: int) -> Manifest:
        """The manifest of a version; raises ModelNotFound, VersionNotFound or ManifestInvalid."""
        return Manifest.read(self.version_dir(model, version) / manifests.FILE_NAME)

    def contract(self, model: str, version: int) -> Contract:
        """The contract of a version; raises ContractInvalid when it was edited."""
        return Contract.read(self.version_dir(model, version) / "contract.json")

    def verify(self, model: str, version: int) -> Manifest:
        """Reads every file of a version and compares its sha256; raises RepositoryDamaged with what differs."""
        manifest = self.manifest(model, version)
        problems = [text for name in sorted(manifest.files) if (text := self._problem(manifest, name))]
        problems += [f"{name} is not in the manifest" for name in self._present(manifest) - manifest.files.keys()]
        if self.contract(model, version).hash != manifest.contract_hash:
            problems.append("contract.json is not the published one")
        if problems:
            raise RepositoryDamaged(
                f"{model} version {version} is not what was published",
                observed="; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""),
                fix=f"roll back (`slipway rollback {model}`) and publish again",
            )
        return manifest

    def check_writable(self) -> None:
        """Raises OutputUnwritable where a publication would fail, before the work for it is done."""
        try:
            # the nearest folder that exists: nothing is made before there is something to publish
            folder = next(item for item in (self.path, *self.path.parents) if item.exists())
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-"):
                pass
        except OSError as problem:
            raise OutputUnwritable(
                "the model repository cannot be written to",
                observed=f"{self.path}: {problem.strerror}",
                fix="make the folder writable, or name another with SLIPWAY_REPOSITORY",
            ) from problem

    def publish(self, publication: Publication, on_step: OnStep = lambda step: None) -> int:
        """Publishes one version as a transaction and returns its number; see slipway.repository.publish."""
        return publish(self.path, publication, on_step)

    def pointer(self, model: str) -> Pointer:
        """Which version answers requests without one; raises ModelNotFound or RepositoryDamaged.

        A publisher that died between its commit and its pointer leaves a first version without pointer: then the
        lowest published version answers, which is the one that the pointer would have named.
        """
        found = self.versions(model)
        pointer = Pointer.read(self.path / model / POINTER)
        if pointer is None:
            return Pointer(stable=found[0], previous=None, highest=found[-1], updated=layout.now())
        return pointer

    def set_pointer(self, model: str, version: int) -> Pointer:
        """Makes ``version`` the stable one; the one before becomes ``previous``. Raises VersionNotFound."""
        self.version_dir(model, version)
        home = self.path / model
        with locked(home):
            # A damaged pointer is mended here: this is what its error tells people to do.
            old = Pointer.read_or_none(home / POINTER)
            if old is not None and old.stable == version:
                # a new stamp all the same: a server that refused the version is asked to judge it again
                again = replace(old, updated=layout.now())
                again.write(home / POINTER)
                return again
            found = self.versions(model)
            implied = None if (home / POINTER).exists() else found[0]
            stable = old.stable if old is not None else implied
            previous = stable if stable in found and stable != version else None
            highest = max(found[-1], old.highest if old else 0)
            new = Pointer(stable=version, previous=previous, highest=highest, updated=layout.now())
            new.write(home / POINTER)
        return new

    def restore_pointer(self, model: str, before: Pointer, written: Pointer) -> None:
        """Takes back ``written``, with its rollback target, unless somebody has pointed elsewhere since."""
        home = self.path / model
        with locked(home):
            if Pointer.read_or_none(home / POINTER) == written:
                before.write(home / POINTER)

    def pointer_or_none(self, model: str) -> Pointer | None:
        """As :meth:`pointer`, with None for a damaged one."""
        self.versions(model)
        try:
            return self.pointer(model)
        except RepositoryDamaged:
            return None

    def rollback_target(self, model: str) -> int:
        """The previous version; raises RollbackImpossible where there is none."""
        pointer = self.pointer(model)
        if pointer.previous is None:
            raise RollbackImpossible(
                f"{model} has no previous version",
                observed=f"versions: {self.versions(model)}, stable: {pointer.stable}",
                fix=f"name one: `slipway rollback {model} --to VERSION`",
            )
        return pointer.previous

    def rollback(self, model: str, to: int | None = None) -> Pointer:
        """Points back to ``to``, or to the previous version; raises RollbackImpossible where there is none."""
        return self.set_pointer(model, self.rollback_target(model) if to is None else to)

    def check_pointer(self, model: str) -> None:
        """Raises RepositoryDamaged when the pointer cannot be read or names versions that do not exist."""
        pointer, found = self.pointer(model), self.versions(model)
        if pointer.stable not in found or pointer.previous not in (None, *found):
            raise RepositoryDamaged(
                f"{model}: the pointer names a version that does not exist",
                observed=f"stable {pointer.stable}, previous {pointer.previous}, published {found}",
                fix=f"`slipway promote {model} VERSION` writes it anew",
            )

    def collect_garbage(self, keep: int | None = None) -> list[str]:
        """Removes what dead publishers left and, with ``keep``, all but the newest ``keep`` versions of each model
        and those that its pointer names. Returns the removed paths, relative to the repository."""
        removed: list[str] = []
        homes = [item for item in self.path.iterdir() if item.is_dir()] if self.path.is_dir() else []
        for home in (item for item in homes if _NAME.fullmatch(item.name)):
            with locked(home):
                removed += [str(path.relative_to(self.path)) for path in collect(self.path, home.name)]
                removed += self._trim(home.name, keep) if keep is not None else []
        return removed

    def _tried(self, model: str) -> tuple[int, ...]:
        """Versions of the model's experiment; none that can be read means none to lose by waiting."""
        found = experiment.read(self.path, model)
        return found.versions if found is not None else ()

    def _trim(self, model: str, keep: int) -> list[str]:
        pointer = self.pointer(model)
        held = {pointer.stable, pointer.previous, *self._tried(model)}
        found = layout.published(self.path / model)
        doomed = [version for version in found[: max(0, len(found) - keep)] if version not in held]
        for version in doomed:
            remove_version(self.path, model, version, self.manifest(model, version).networks)
        return [f"{model}/{version}" for version in doomed]

    def _problem(self, manifest: Manifest, name: str) -> str | None:
        path, entry = self.path / name, manifest.files[name]
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry.bytes:
            return f"{name} has {path.stat().st_size} bytes, not {entry.bytes}"
        return None if sha256_file(path) == entry.sha256 else f"{name} has another sha256"

    def _present(self, manifest: Manifest) -> set[str]:
        """Files in the version's directories, without the manifest and Python's own cache."""
        names = set()
        for model in (manifest.model, *manifest.networks):
            directory = self.path / model / str(manifest.version)
            for path in directory.rglob("*"):
                if path.is_file() and path.name != manifests.FILE_NAME and "__pycache__" not in path.parts:
                    names.add(path.relative_to(self.path).as_posix())
        return names
