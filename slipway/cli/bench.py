"""`slipway bench`: how fast what is served is against its own pipeline without a server, and what failures cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slipway.cli.context import load_settings
from slipway.cli.options import AsJson
from slipway.cli.output import Steps, print_json, print_line, print_table

app = typer.Typer(help="Benchmarks of what this machine serves.", no_args_is_help=True)

Model = Annotated[str, typer.Option("--model", "-m", help="A served model.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for results, relative to the project.")]


@app.command("serving")
def serving(
    model: Model = "resnet18",
    seconds: Annotated[float, typer.Option(help="Measured seconds of each arm.", min=0.1)] = 20.0,
    concurrency: Annotated[int, typer.Option(help="Closed-loop clients.", min=1)] = 8,
    batch: Annotated[int, typer.Option(help="Images per request.", min=1)] = 1,
    rounds: Annotated[int, typer.Option(help="Turns that the arms take.", min=1)] = 3,
    images: Annotated[str, typer.Option(help="mixed: JPEGs of 20 to 530 kB; fixed: 640x427, 100 kB.")] = "mixed",
    arms: Annotated[str, typer.Option(help="raw and any of grpc, http, triton-grpc.")] = "raw,grpc,http",
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Load over gRPC and HTTP against the same pipeline in process: a table, CSV, JSON and an HTML report."""
    from benchmarks.options import Options
    from benchmarks.report import COLUMNS
    from benchmarks.serving import run

    asked: dict[str, Any] = {"images": images, "arms": tuple(arms.split(","))}
    options = Options(model, seconds, concurrency, batch, rounds, out=out, **asked)
    report = run(load_settings(), options, Steps().say)
    if as_json:
        print_json(report.to_dict())
        return
    print_table(f"{model} version {report.subject.version}", COLUMNS, report.rows())
    print_line(report.verdict())


@app.command("chaos")
def chaos(
    model: Model = "digits",
    clients: Annotated[int, typer.Option(help="Closed-loop clients, half gRPC, half HTTP.", min=2)] = 8,
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Kill an instance, Triton and Envoy under load, then stop the server: what clients see. It ends the server."""
    from benchmarks.chaos import COLUMNS, ChaosOptions, run

    report = run(load_settings(), ChaosOptions(model=model, clients=clients, out=out), Steps().say)
    if as_json:
        print_json(report.to_dict())
        return
    title = f"{model} version {report.version}: what clients saw"
    print_table(title, [name.replace("_", " ") for name in COLUMNS], [outcome.cells() for outcome in report.outcomes])
    print_line("the server was stopped by the last event; `slipway serve --detach` starts it again")
