"""`slipway samples`: the small real data and trained models that come with Slipway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.context import load_settings
from slipway.cli.options import AsJson
from slipway.cli.output import Steps, print_json, print_line, print_table
from slipway.errors import OutputUnwritable


def samples(
    name: Annotated[str | None, typer.Argument(help="A sample; without it they are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the sample's images here.")] = None,
    split: Annotated[str, typer.Option(help="Which images: train or test (digits), all (photos).")] = "test",
    as_json: AsJson = False,
) -> None:
    """List the samples; make one ready (trained weights and images under var/); or write its images with --out."""
    from samples import registry

    if name is None:
        known = registry.available()
        if as_json:
            print_json({"samples": [{"name": item.name, "description": item.description} for item in known]})
        else:
            print_table(
                "Samples", ["name", "models", "what"], [(i.name, ", ".join(i.models), i.description) for i in known]
            )
        return
    if out is not None:
        try:
            written = registry.write_images(name, split, out)
        except OSError as error:
            raise OutputUnwritable(
                f"{out} cannot be written to", observed=error.strerror, fix="name a folder that can be made"
            ) from error
        if as_json:
            print_json({"images": [str(path) for path in written]})
        else:
            print_line(f"{len(written)} images in {out}")
        return
    steps = Steps()
    with steps.step(f"sample {name}"):
        report = registry.prepare(name, load_settings(), progress=steps.tell)
    if as_json:
        print_json(report.to_dict())
    else:
        rows = [
            (part, values["files"], values.get("accuracy", ""), "there already" if values["reused"] else "made")
            for part, values in report.to_dict()["parts"].items()
        ]
        print_table(f"Sample {name} in {report.folder}", ["part", "files", "held-out accuracy", ""], rows)
