"""`slipway export`: trained weights -> artefacts -> gates -> one new version, or exit code 1 and nothing published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.options import AsJson, SpecName
from slipway.cli.output import Steps, print_json, print_line, print_table
from slipway.errors import GateFailed
from slipway.settings import Settings
from slipway.spec import load_model_spec

if TYPE_CHECKING:
    from export.run import ExportResult


def export(
    model: SpecName,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec for this run.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Everything but the publishing.")] = False,
    activate: Annotated[bool, typer.Option("--activate", help="Make the new version the stable one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export a model in every format of its spec; publish a version only when all gates pass."""
    settings = Settings.load()
    result = run(settings, model, changes or [], Steps(), dry_run=dry_run, as_json=as_json)
    if activate and result.version is not None:
        from slipway.cli.versions import promote

        promote(model, result.version)


def run(
    settings: Settings, model: str, changes: list[str], steps: Steps, *, dry_run: bool = False, as_json: bool = False
) -> ExportResult:
    """Exports one model, prints its gates and returns the result; the gates are printed also when one fails."""
    from export.run import export_model

    spec = load_model_spec(model, settings).changed(changes)
    with steps.step(f"export {model}"):
        try:
            result = export_model(spec, settings, dry_run=dry_run, progress=steps.say)
        except GateFailed as error:
            _print(getattr(error, "rows", []), as_json)
            raise
    if as_json:
        print_json(result.to_dict())
    elif result.unchanged:
        print_line(f"{model}: unchanged, version {result.version}")
    else:
        _print(result.rows(), as_json)
        print_line(f"{model}: version {result.version} published" if result.published else f"{model}: not published")
    return result


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"gates": rows})
    else:
        columns = ["format", "gate", "passed", "measured", "threshold", "reason"]
        print_table("Gates", columns, [[row.get(column) for column in columns] for row in rows])


def path_of_evidence(settings: Settings, model: str, version: int) -> Path:
    """Where a version's numbers lie."""
    return settings.repository / model / str(version) / "evidence.json"
