"""`slipway explain-diff`: the first layer where two formats of a model part, and what every layer loses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.context import load_settings, load_spec
from slipway.cli.options import AsJson, SpecName
from slipway.cli.output import Steps, print_json, print_line, print_table

if TYPE_CHECKING:
    from export.layers.explain import Explanation


def explain_diff(
    model: SpecName,
    format_name: Annotated[str, typer.Option("--format", metavar="FORMAT", help="The format to look into.")],
    against: Annotated[
        str, typer.Option("--against", metavar="FORMAT", help="What it is compared with; eager is the trained model.")
    ] = "onnx",
    image: Annotated[Path | None, typer.Option("--image", help="Compare on this image; else on held-out ones.")] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Take this published version's artefacts.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="DB", help="A layer below differs; by precision unless set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two formats layer by layer on real images and name the first layer where they part."""
    from export.layers.explain import explain_diff as explain
    from export.workspace import workspace
    from slipway.spec.formats import format_names

    settings = load_settings()
    spec = load_spec(model, settings)
    format_names([format_name, *([against] if against != "eager" else [])])
    steps = Steps(quiet=as_json)
    with steps.step(f"compare {format_name} with {against}"), workspace(settings.state_dir) as folder:
        explanation = explain(
            spec,
            settings,
            format_name,
            folder,
            against=against,
            image=image,
            version=version,
            threshold_db=threshold,
        )
    if as_json:
        print_json(explanation.to_dict())
    else:
        _print(explanation)


def _print(explanation: Explanation) -> None:
    rows = [
        (
            "*" if layer == explanation.first else "",
            layer.name,
            layer.op,
            layer.module,
            f"{layer.sqnr_db:.1f}",
            f"{layer.lost_db:.1f}",
            f"{layer.max_relative:.1e}",
            f"{layer.largest:.3g}",
        )
        for layer in explanation.comparison.layers
    ]
    columns = ["", "layer", "op", "module", "SQNR dB", "lost dB", "max difference", "largest value"]
    print_table(f"{explanation.model}, {explanation.comparison.images} images", columns, rows)
    for text in (*explanation.comparison.notes, explanation.kernels, explanation.verdict()):
        if text:
            print_line(text)
