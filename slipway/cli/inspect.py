"""`slipway doctor` and `slipway lint`: is this machine fit, and is what lies in config/ and the repository sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from slipway import doctor as checks
from slipway.cli.context import load_settings, load_spec, open_repository
from slipway.cli.options import AsJson
from slipway.cli.output import print_json, print_table
from slipway.errors import EXIT_ENVIRONMENT, EXIT_FAILED, SlipwayError

if TYPE_CHECKING:
    from slipway.repository import Repository
    from slipway.settings import Settings


def doctor(as_json: AsJson = False) -> None:
    """What this machine has and lacks, and how to get it. Exit code 6 when something must be mended."""
    settings = load_settings()
    ports = (settings.http_port, settings.grpc_port)
    places = (settings.repository, settings.state_dir)
    found = checks.all_checks(settings.root, settings.triton_env, ports, places)
    if as_json:
        print_json({"checks": [check.to_dict() for check in found]})
    else:
        print_table("Doctor", ["check", "state", "found", "fix"], [(c.name, c.state, c.found, c.fix) for c in found])
    if any(check.state == checks.FAIL for check in found):
        raise typer.Exit(EXIT_ENVIRONMENT)


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
        load_spec(name, settings).contract(settings.root)
    except SlipwayError as error:
        return what, error.code, str(error)
    return what, "ok", ""


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
