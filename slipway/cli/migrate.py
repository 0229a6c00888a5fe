"""`slipway migrate`: a TorchServe archive -> a specification or a version, proved on sample inputs."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.context import load_settings
from slipway.cli.options import AsJson
from slipway.cli.output import Steps, print_json, print_line, print_table

if TYPE_CHECKING:
    from export.migrate.run import Migration
    from export.steps import StepEvent


def migrate(
    archive: Annotated[Path, typer.Argument(help="A .mar, a .tar.gz or an unpacked archive.")],
    samples: Annotated[
        Path | None, typer.Option(help="Folder of inputs that both sides are asked about; needed but for our archives.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name here; the archive's unless given.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Its Python may run here: you have read it.")
    ] = False,
    tolerance: Annotated[float, typer.Option(min=0.0, help="How far scores may lie apart.")] = 1e-2,
    count: Annotated[int, typer.Option(min=1, help="How many samples, spread evenly.")] = 32,
    input_size: Annotated[
        str | None, typer.Option("--input-size", metavar="HEIGHTxWIDTH", help="Of a detector's network.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a specification of that name.")] = False,
    accept_different: Annotated[
        bool, typer.Option("--accept-different", help="Write what answers otherwise, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a TorchServe archive without running it, write what serves it here, and compare both on samples."""
    from export.migrate.run import Wish, refuse_different
    from export.migrate.run import migrate as run

    steps = Steps()
    wish = Wish(
        archive=archive,
        samples=samples,
        name=name,
        allow_code=allow_code,
        accept_different=accept_different,
        replace=replace,
        tolerance=tolerance,
        count=count,
        size=_size(input_size),
    )
    with steps.step(f"migrate {archive.name}"):
        found = run(wish, load_settings(), partial(_tell, steps))
    print_json(found.to_dict()) if as_json else _print(found)
    refuse_different(found)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if match is None:
        raise typer.BadParameter("for example 480x640", param_hint="--input-size")
    return int(match[1]), int(match[2])


def _tell(steps: Steps, event: StepEvent) -> None:
    if event.state != "started":
        steps.say(f"  {event.step}: {event.state}, {event.seconds:.1f} s")


def _print(found: Migration) -> None:
    rows = [
        (row.sample, {True: "yes", False: "NO", None: "-"}[row.same], _number(row.worst_difference), row.note)
        for row in found.rows
    ]
    print_table(f"{found.model}: {found.handler}", ["sample", "same", "worst difference", "note"], rows)
    for note in found.notes:
        print_line(f"note: {note}")
    if found.spec is not None:
        print_line(f"{found.model}: {found.spec} is written. Next:  slipway export {found.model}; slipway serve")
    if found.version is not None:
        print_line(f"{found.model}: version {found.version} is published. Next:  slipway serve")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"
