"""A version of an MLflow model registry, ``models:/name@alias`` or ``models:/name/3``, copied here once.

An alias is asked for anew each time; a version's files are fetched once, because MLflow's versions do not change.
MLflow is imported only when a specification names a registry (two seconds), with its usage reports switched off.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from export.sources.mlflow_version import Version
from export.sources.secrets import shown, without_secrets
from slipway.errors import DownloadFailed, EnvironmentUnfit, SourceInvalid
from slipway.files import sha256_file

_FORM = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>[0-9]+))")
#: Only where the user has not set them: MLflow's own defaults are 7 retries that double (minutes for a closed port),
#: progress bars on stderr, and usage reports to its makers.
_QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_CHECKSUMS = ".slipway.json"
_Answer = TypeVar("_Answer")


def from_registry(location: str, tracking_uri: str | None, root: Path, cache_dir: Path) -> Version:
    """The version's files as a folder on this machine.

    ``tracking_uri``: of the registry, else ``MLFLOW_TRACKING_URI``; a plain path starts at ``root``.

    Raises SourceInvalid for an unknown name, alias or version (with those that exist), DownloadFailed for a server
    that does not answer, EnvironmentUnfit where the client is not installed.
    """
    parts = _FORM.fullmatch(location)
    if parts is None:
        raise SourceInvalid(
            "not the address of an MLflow version",
            observed=location,
            expected="models:/name@alias or models:/name/3",
            fix="stages and 'latest' change without notice: set an alias in the registry and name it",
        )
    with _settings():
        registry = _Registry(_tracking_uri(tracking_uri, root))
        version = registry.version(parts["name"], parts["alias"], parts["number"])
        label = f"{location} (version {version.version})" if parts["alias"] else location
        return Version(registry.files(version, cache_dir / "mlflow"), label)


class _Registry:
    """One MLflow registry; ``uri`` may hold a password and is shown without it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._registry_uri = os.environ.get("MLFLOW_REGISTRY_URI")
        self._client = self._ask(lambda: _client(uri, self._registry_uri))

    def version(self, name: str, alias: str | None, number: str | None) -> Any:
        """MLflow's ModelVersion."""
        if alias is not None:
            return self._ask(
                lambda: self._client.get_model_version_by_alias(name, alias), lambda: self._absent(name, alias, None)
            )
        return self._ask(
            lambda: self._client.get_model_version(name, str(number)), lambda: self._absent(name, None, number)
        )

    def files(self, version: Any, cache: Path) -> Path:
        """The folder of the version's files, downloaded unless it lies there whole."""
        uri = self._ask(lambda: self._client.get_model_version_download_uri(version.name, version.version))
        key = f"{shown(self._uri)}\0{version.name}\0{version.version}\0{version.creation_timestamp}\0{uri}"
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", version.name)[:60]
        target = cache / f"{readable}-{version.version}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if not _whole(target):
            self._download(uri, target)
        return target

    def _download(self, uri: str, target: Path) -> None:
        """Into a directory beside ``target`` that is renamed when everything is there."""
        import mlflow

        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            fetched = Path(
                self._ask(
                    lambda: mlflow.artifacts.download_artifacts(
                        artifact_uri=uri,
                        dst_path=str(temporary),
                        tracking_uri=self._uri,
                        registry_uri=self._registry_uri or self._uri,
                    )
                )
            )
            if not fetched.is_dir():
                raise DownloadFailed(f"the MLflow version at {shown(uri)} has no files", observed=fetched.name)
            sums = {path.relative_to(fetched).as_posix(): sha256_file(path) for path in _regular_files(fetched)}
            (fetched / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)  # what is there is not whole
            try:
                fetched.replace(target)
            except OSError:
                if not _whole(target):  # else another process was first
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _ask(self, call: Callable[[], _Answer], absent: Callable[[], SourceInvalid] | None = None) -> _Answer:
        """What the registry answers; its errors become ours."""
        from mlflow.exceptions import MlflowException

        try:
            return call()
        except (MlflowException, OSError, ImportError, ValueError) as problem:
            code = getattr(problem, "error_code", "")
            if absent is not None and code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise absent() from problem
            raise DownloadFailed(
                f"the MLflow registry at {shown(self._uri)} did not give the version",
                observed=self._told(problem),
                expected="a registry that answers, and artefacts that can be read from here",
                fix="check source.tracking_uri or MLFLOW_TRACKING_URI, its credentials (MLFLOW_TRACKING_USERNAME, "
                "_PASSWORD, _TOKEN) and the network",
            ) from problem

    def _told(self, problem: Exception) -> str:
        lines = str(problem).strip().splitlines() or ["no message"]
        return f"{type(problem).__name__}: {without_secrets(lines[0], self._uri)[:400]}"

    def _absent(self, name: str, alias: str | None, number: str | None) -> SourceInvalid:
        """What there is instead of the name, alias or version that does not exist."""
        names = self._ask(lambda: [str(item.name) for item in self._client.search_registered_models(max_results=1000)])
        where = f"the MLflow registry at {shown(self._uri)}"
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:3]
            return SourceInvalid(
                f"{where} has no model {name!r}",
                expected=f"one of its {len(names)} models{', for example ' + ', '.join(near) if near else ''}",
            )
        if alias is not None:
            aliases = self._ask(lambda: self._client.get_registered_model(name).aliases)
            known = ", ".join(f"{key} (version {aliases[key]})" for key in sorted(aliases))
            return SourceInvalid(
                f"{where}: {name} has no alias {alias!r}", expected=f"one of: {known or 'none is set'}"
            )
        found = self._ask(lambda: [int(item.version) for item in self._client.search_model_versions(f"name='{name}'")])
        listed = ", ".join(map(str, sorted(found, reverse=True)[:10]))
        return SourceInvalid(f"{where}: {name} has no version {number}", expected=f"one of: {listed or 'none exist'}")


def _client(uri: str, registry_uri: str | None) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=registry_uri)


def _tracking_uri(declared: str | None, root: Path) -> str:
    uri = declared or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise SourceInvalid(
            "which MLflow registry is not said",
            expected="source.tracking_uri, or MLFLOW_TRACKING_URI in the environment",
        )
    return uri if re.match(r"[a-z][a-z0-9+.-]*:|databricks", uri) else (root / uri).resolve().as_uri()


def _whole(folder: Path) -> bool:
    """Whether every file that was downloaded is there with its bytes."""
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        return all(sha256_file(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _regular_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """MLflow's environment within the block; raises EnvironmentUnfit where the client is not installed."""
    added = {name: value for name, value in _QUIET.items() if name not in os.environ}
    os.environ.update(added)
    logger = logging.getLogger("mlflow")
    level = logger.level
    try:
        import mlflow  # noqa: F401 - within the settings, which it reads on import

        logger.setLevel(logging.ERROR)
        yield
    except ModuleNotFoundError as problem:
        if problem.name != "mlflow":
            raise
        raise EnvironmentUnfit(
            "an MLflow registry needs its client", observed="mlflow is not installed", fix="make setup"
        ) from problem
    finally:
        logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)
