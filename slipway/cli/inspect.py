"""`slipway doctor` and `slipway lint`: is this machine fit, which formats and engines run here, is what lies in config/
and the repository sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from slipway import doctor as checks
from slipway.cli.context import load_settings, load_spec, open_repository
from slipway.cli.options import AsJson
from slipway.cli.output import print_json, print_table
from slipway.errors import EXIT_ENVIRONMENT, EXIT_FAILED, EnvironmentUnfit, SlipwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.triton.environment import TritonInstallation
    from slipway.repository import Repository
    from slipway.settings import Settings
    from slipway.spec import ModelSpec


def doctor(as_json: AsJson = False) -> None:
    """What this machine has and lacks, and how to get it; which formats and engines can run here.

    Exit code 6 when something must be mended; a format or an engine that is absent is nothing to mend."""
    settings = load_settings()
    ports = (settings.http_port, settings.grpc_port)
    places = (settings.repository, settings.state_dir)
    found = checks.all_checks(settings.root, settings.triton_env, ports, places)
    formats, engines = _formats(), _engines(settings)
    if as_json:
        listed = {"checks": found, "formats": formats, "engines": engines}
        print_json({title: [check.to_dict() for check in rows] for title, rows in listed.items()})
    else:
        for title, what, rows in (
            ("Doctor", "check", found),
            ("Formats", "format", formats),
            ("Engines", "engine", engines),
        ):
            print_table(title, [what, "state", "found", "fix"], [(c.name, c.state, c.found, c.fix) for c in rows])
    if any(check.state == checks.FAIL for check in found):
        raise typer.Exit(EXIT_ENVIRONMENT)


def _formats() -> list[checks.Check]:
    """Every export format: can it be exported and run here, else everything that is missing."""
    from export.formats.registry import all_formats

    found = []
    for item in all_formats():
        reason = item.available()
        state, fix = (checks.OK, "") if reason is None else (checks.ABSENT, reason)
        found.append(checks.Check(item.name, state, item.summary, fix))
    return found


def _engines(settings: Settings) -> list[checks.Check]:
    """What serves: found here, or what is true of those that are not looked for."""
    from serving.edge.process import find_envoy
    from serving.triton.environment import find_triton

    return [
        _engine("embedded Triton", lambda: _triton_words(find_triton(settings.triton_env))),
        _engine("Envoy", lambda: str(find_envoy())),
        _tensorrt(),
        checks.Check(
            "Triton container",
            checks.ABSENT,
            "serves the same model repository, plans included; not looked for: nothing here starts containers",
            "docker run --gpus all with the repository mounted, from a tag whose TensorRT is the one in plans.json",
        ),
        checks.Check("TorchServe", checks.ABSENT, "not built into Slipway yet", "serve with Triton"),
    ]


def _engine(name: str, find: Callable[[], str]) -> checks.Check:
    try:
        return checks.Check(name, checks.OK, find())
    except EnvironmentUnfit as problem:
        return checks.Check(name, checks.ABSENT, problem.message, problem.fix or "")


def _triton_words(found: TritonInstallation) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items() if version)
    return f"CPU only, Python {found.python_version}: {versions}"


def _tensorrt() -> checks.Check:
    """The builder and runtime of plans: driver, GPUs and version, asked in a process of its own."""
    from export.tensorrt.availability import machine, unavailable

    found = machine()
    gpus = ", ".join(f"{gpu['name']} (compute capability {gpu['compute_capability']})" for gpu in found["devices"])
    words = f"TensorRT {found['tensorrt'] or 'none'}, CUDA driver {found['driver'] or 'none'}, GPUs: {gpus or 'none'}"
    reason = unavailable("fp32")
    return checks.Check("TensorRT", checks.OK if reason is None else checks.ABSENT, words, reason or "")


def lint(as_json: AsJson = False) -> None:
    """Read every specification and every published version; exit code 1 when something is wrong."""
    settings = load_settings()
    rows = [_spec_row(path.stem, settings) for path in sorted(settings.models_dir.glob("*.yaml"))]
    repository = open_repository(settings)
    for model in repository.models():
        rows += [_version_row(repository, model, version) for version in repository.versions(model)]
        rows.append(_pointer_row(repository, model))
    if as_json:
        print_json({"findings": [{"what": what, "state": state, "problem": problem} for what, state, problem in rows]})
    else:
        print_table("Lint", ["what", "state", "problem"], rows)
    if any(state != "ok" for _, state, _ in rows):
        raise typer.Exit(EXIT_FAILED)


Row = tuple[str, str, str]


def _spec_row(name: str, settings: Settings) -> Row:
    what = f"config/models/{name}.yaml"
    try:
        spec = load_spec(name, settings)
        unmade = _unmade(spec, settings)
        if unmade is not None:
            return what, "ok", f"its labels come with `slipway samples {unmade}`, which was not run yet"
        spec.contract(settings.root)
    except SlipwayError as error:
        return what, error.code, str(error)
    return what, "ok", ""


def _unmade(spec: ModelSpec, settings: Settings) -> str | None:
    """The sample that writes a file of labels that is not there yet; a user's own file has to be there."""
    from samples import registry

    sample = registry.for_model(spec.model)
    files = [item.labels_file for item in spec.networks.values() if item.labels_file is not None]
    missing = sample is not None and any(not (settings.root / file).is_file() for file in files)
    return sample.name if missing and sample is not None else None


def _version_row(repository: Repository, model: str, version: int) -> Row:
    what = f"{model} version {version}"
    try:
        repository.verify(model, version)
    except SlipwayError as error:
        return what, error.code, str(error)
    return what, "ok", ""


def _pointer_row(repository: Repository, model: str) -> Row:
    what = f"{model} pointer"
    try:
        repository.check_pointer(model)
    except SlipwayError as error:
        return what, error.code, str(error)
    return what, "ok", ""
