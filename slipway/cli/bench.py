"""`slipway bench`: how fast what is served is against its own pipeline without a server, and what failures cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.context import load_settings, load_spec
from slipway.cli.options import AsJson, Engine
from slipway.cli.output import Steps, print_json, print_line, print_table

if TYPE_CHECKING:
    from export.steps import StepEvent

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
    images: Annotated[str, typer.Option(help="mixed: JPEGs of 20 to 530 kB; fixed: 100 kB; small: 50 kB.")] = "mixed",
    arms: Annotated[str, typer.Option(help="raw and any of grpc, http, triton-grpc, envoy-grpc.")] = "raw,grpc,http",
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
    engine: Engine = None,
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Kill an instance, the engine and Envoy under load, then stop the server: what clients see. It ends the server."""
    from benchmarks.chaos import COLUMNS, ChaosOptions, run

    report = run(
        load_settings(engine and engine.value), ChaosOptions(model=model, clients=clients, out=out), Steps().say
    )
    if as_json:
        print_json(report.to_dict())
        return
    title = f"{model} version {report.version} on {report.engine}: what clients saw"
    print_table(title, [name.replace("_", " ") for name in COLUMNS], [outcome.cells() for outcome in report.outcomes])
    print_line("the server was stopped by the last event; `slipway serve --detach` starts it again")


@app.command("formats")
def formats(
    model: Annotated[str, typer.Option("--model", "-m", help="In config/models.")] = "resnet18",
    names: Annotated[str, typer.Option("--formats", help="Comma-separated; every format unless given.")] = "",
    batches: Annotated[str, typer.Option("--batch", help="Images per call, comma-separated.")] = "1,8",
    threads: Annotated[int, typer.Option(help="Of each runtime.", min=1)] = 1,
    processes: Annotated[int, typer.Option(help="Of each format, at once: cores to fill all of them.", min=1)] = 1,
    seconds: Annotated[float, typer.Option(help="Measured, per batch size, all formats together.", min=0.1)] = 60.0,
    gates: Annotated[bool, typer.Option("--gates", help="Judge each format by the gates too: minutes.")] = False,
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Export every format of a model and measure them in turns, with torch eager among them. Publishes nothing."""
    from benchmarks import machine
    from export.speed.formats import Options, bench_formats

    settings, steps = load_settings(), Steps()
    options = Options(_words(names), tuple(map(_number, _words(batches))), threads, processes, seconds, gates)
    report = bench_formats(load_spec(model, settings), settings, options, lambda event: _tell(steps, event))
    report.machine = machine.describe_tools()
    folder = report.write(settings.root / out)
    if as_json:
        print_json(report.to_dict())
        return
    print_table(report.title, report.columns, report.cells())
    for missing, reason in report.missing():
        print_line(f"not measured: {missing}: {reason}")
    print_line(f"written to {os.path.relpath(folder)}")


@app.command("peers")
def peers(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A published model that has an onnx network.")
    ] = "resnet18",
    seconds: Annotated[float, typer.Option(help="Measured seconds of each arm.", min=0.1)] = 30.0,
    rounds: Annotated[int, typer.Option(help="Turns that the arms take.", min=1)] = 6,
    concurrency: Annotated[int, typer.Option(help="Closed-loop clients.", min=1)] = 8,
    workers: Annotated[int, typer.Option(help="uvicorn workers of FastAPI, one thread each.", min=1)] = 2,
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Slipway against a FastAPI + onnxruntime fp32 server and against no server, in turns. Starts its own servers."""
    from benchmarks.peers.report import COLUMNS
    from benchmarks.peers.run import PeersOptions, run

    settings, steps = load_settings(), Steps()
    report = run(settings, PeersOptions(model, seconds, rounds, concurrency, workers), steps.say)
    folder = report.write(settings.root / out)
    if as_json:
        print_json(report.to_dict())
        return
    print_table(report.title, COLUMNS, report.rows())
    print_line(report.verdict())
    print_line(f"written to {os.path.relpath(folder)}")


@app.command("parity")
def parity(
    engines: Annotated[str, typer.Option(help="Comma-separated.")] = "triton,torchserve",
    models: Annotated[str, typer.Option(help="Comma-separated; every published model unless given.")] = "",
    images: Annotated[int, typer.Option(help="Sample images of each model; 0: all.", min=0)] = 0,
    url: Annotated[list[str] | None, typer.Option(help="Ask this server instead of starting engines.")] = None,
    transport: Annotated[str, typer.Option(help="http or grpc.")] = "grpc",
    as_json: AsJson = False,
) -> None:
    """Ask every engine and this process about every sample image: the same answers? Exit code 1 when not."""
    from benchmarks.engines import engine_name
    from benchmarks.parity import COLUMNS, ParityOptions, run

    asked = ParityOptions(tuple(map(engine_name, _words(engines))), _words(models), images, tuple(url or ()), transport)
    report = run(load_settings(), asked, Steps().say)
    if as_json:
        print_json(report.to_dict())
    else:
        print_table("answers compared", COLUMNS, [row.cells() for row in report.rows])
        for row in report.rows:
            for problem in row.problems:
                print_line(f"{row.model}, {' against '.join(row.engines)}: {problem}")
        for name, reason in report.skipped.items():
            print_line(f"not asked: {name}: {reason}")
    if not report.same:
        raise typer.Exit(1)


@app.command("stages")
def stages(
    model: Annotated[str, typer.Option("--model", "-m", help="A published model of any task.")] = "scenes",
    engine: Annotated[str, typer.Option(help="triton or torchserve.")] = "triton",
    seconds: Annotated[float, typer.Option(help="Measured seconds of each arm.", min=0.1)] = 20.0,
    rounds: Annotated[int, typer.Option(help="Turns that the arms take.", min=1)] = 3,
    concurrency: Annotated[int, typer.Option(help="Closed-loop clients.", min=1)] = 8,
    transports: Annotated[str, typer.Option(help="grpc, http or both.")] = "grpc,http",
    images: Annotated[int, typer.Option(help="Sample images that take turns.", min=1)] = 32,
    as_json: AsJson = False,
) -> None:
    """Any task served against the same pipeline in process, in turns, and its CPU time by stage. Starts its server."""
    from benchmarks.engines import engine_name
    from benchmarks.stages import COLUMNS, StagesOptions, run

    ways = _words(transports)
    options = StagesOptions(model, engine_name(engine), seconds, concurrency, rounds, ways, images)
    report = run(load_settings(), options, Steps().say)
    if as_json:
        print_json(report.to_dict())
        return
    print_table(f"{model} version {report.version} ({report.task}) on {engine}", COLUMNS, report.rows())
    times = [(name, f"{value:.2f}") for name, value in report.stage_milliseconds().items()]
    print_table("in process by stage", ["stage", "CPU-ms per image"], times)


@app.command("rollouts")
def rollouts(
    scenarios: Annotated[
        str,
        typer.Option(help="Comma-separated of good, errors, slow, nan, inaccurate, weights, chaos; all unless given."),
    ] = "",
    rate: Annotated[float, typer.Option(help="Requests per second, half HTTP, half gRPC.", min=1)] = 150.0,
    clients: Annotated[int, typer.Option(help="Clients that share the rate.", min=2)] = 6,
    engine: Engine = None,
    out: Out = Path("benchmarks/results"),
    as_json: AsJson = False,
) -> None:
    """Roll out a good version and flawed ones of digits: who is promoted, who is aborted, what clients see.

    Starts its own server, in a repository of its own. One page per scenario, and every command with its output.
    """
    from benchmarks.rollouts.run import CHAOS_COLUMNS, COLUMNS, SCENARIOS, Options, run

    options = Options(_words(scenarios) or SCENARIOS, rate, clients, out)
    report = run(load_settings(engine and engine.value), options, print_line if not as_json else Steps().say)
    if as_json:
        print_json(report.to_dict())
        return
    if report.endings:
        print_table("rollouts that ended by themselves", COLUMNS, report.rows())
    if report.weights:
        print_line(report.weights.verdict())
    if report.chaos:
        print_table("everything killed during a rollout", CHAOS_COLUMNS, report.chaos_rows())
        print_line(report.chaos.verdict())


def _tell(steps: Steps, event: StepEvent) -> None:
    if event.state != "started":
        steps.say(f"  {event.step}: {event.state}, {event.seconds:.1f} s")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(word: str) -> int:
    if not word.isdecimal():
        raise typer.BadParameter(f"{word!r} is no number of images", param_hint="--batch")
    return int(word)
