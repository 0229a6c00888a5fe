"""`slipway export`: trained weights -> artefacts -> gates -> one new version, or exit code 1 and nothing published."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.context import load_settings, load_spec
from slipway.cli.options import AsJson, SpecName
from slipway.cli.output import Steps, print_json, print_line, print_table
from slipway.errors import GateFailed

if TYPE_CHECKING:
    from export.run import ExportResult
    from export.steps import StepEvent
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

#: Seconds: shorter steps only make noise.
_WORTH_TELLING = 0.3


def export(
    model: SpecName,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec for this run.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FORMAT", help="Export this format; may be given again.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Everything but the publishing.")] = False,
    plan_bundle: Annotated[
        Path | None,
        typer.Option(
            "--plan-bundle",
            metavar="DIR",
            help="Only write what builds TensorRT plans on a GPU machine.",
        ),
    ] = None,
    import_plans: Annotated[
        Path | None,
        typer.Option("--import-plans", metavar="DIR", help="Such a folder, back from the GPU machine: its plans join."),
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Make the new version the stable one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export a model in every format of its spec; publish a version only when all gates pass."""
    settings = load_settings()
    spec = load_spec(model, settings).changed(changes or [])
    if only:
        spec = spec.only(only)
    title = " ".join(["export", model, *(changes or []), *(only or [])])
    if plan_bundle is not None:
        _bundle(settings, spec, plan_bundle, as_json)
        return
    result = run(settings, spec, title, Steps(), dry_run=dry_run, plans=import_plans, quiet=as_json)
    moved = None
    if activate and result.version is not None:
        from slipway.cli.versions import move_pointer

        moved = move_pointer(settings, model, result.version)
    if as_json:
        print_json({**asdict(result), "activated": asdict(moved) if moved else None})
    elif moved is not None:
        print_line(f"{model}: version {moved.stable} is stable, {moved.previous or 'none'} is previous")


def run(
    settings: Settings,
    spec: ModelSpec,
    title: str,
    steps: Steps,
    *,
    dry_run: bool = False,
    plans: Path | None = None,
    quiet: bool = False,
) -> ExportResult:
    """Exports one model under ``title`` and returns the result; the gates are printed also when one fails."""
    from export.run import export_model

    with steps.step(title):
        try:
            result = export_model(
                spec, settings, dry_run=dry_run, plans=plans, progress=lambda event: _tell(steps, event)
            )
        except GateFailed as error:
            _print_gates(error.evidence, quiet)
            raise
    if quiet:
        return result
    if not result.unchanged:
        _print_gates(result.evidence, quiet)
    state = "unchanged" if result.unchanged else "published" if result.published else "passed, not published (dry run)"
    print_line(f"{spec.model}: {state}" + (f", version {result.version}" if result.version else ""))
    return result


def _bundle(settings: Settings, spec: ModelSpec, out_dir: Path, as_json: bool) -> None:
    from export.run import write_plan_bundle

    steps = Steps()
    with steps.step(f"plan bundle of {spec.model}"):
        written = write_plan_bundle(spec, settings, out_dir, progress=partial(_tell, steps))
    if as_json:
        print_json({"model": spec.model, "bundle": str(written)})
        return
    print_line(f"{spec.model}: {written} is ready. On a machine with a GPU and TensorRT:  python {written}/run.py")
    print_line(f"  then, with the folder back here:  slipway export {spec.model} --import-plans {written}")


def _tell(steps: Steps, event: StepEvent) -> None:
    if event.state != "started" and event.seconds >= _WORTH_TELLING:
        steps.say(f"  {event.step}: {event.state}, {event.seconds:.1f} s")


def _print_gates(evidence: dict[str, Any] | None, as_json: bool) -> None:
    from export.evidence import rows

    if evidence is None:
        return
    if as_json:
        print_json({"published": False, "evidence": evidence})
        return
    columns = ["format", "gate", "verdict", "found", "allowed", "reason"]
    print_table("Gates", columns, [[row[column] for column in columns] for row in rows(evidence)])
