"""The Typer application: one module per group of commands, none of which imports a room before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway import __version__
from slipway.cli import bench, deploy, explain, export, inspect, migrate, predict, route, samples, serve, versions

app = typer.Typer(
    name="slipway",
    help="Trained computer-vision models into production: export, gates, versions, serving.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # plain help: importing rich would take half the time that `slipway --help` may take
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Options that stand before the command."""


app.command("deploy")(deploy.deploy)
app.command("export")(export.export)
app.command("migrate")(migrate.migrate)
app.command("explain-diff")(explain.explain_diff)
app.command("serve")(serve.serve)
app.command("down")(serve.down)
app.command("status")(serve.status)
app.command("logs")(serve.logs)
app.command("predict")(predict.predict)
app.command("versions")(versions.versions)
app.command("promote")(versions.promote)
app.command("rollback")(versions.rollback)
app.command("gc")(versions.collect)
app.command("samples")(samples.samples)
app.command("lint")(inspect.lint)
app.command("doctor")(inspect.doctor)
app.add_typer(route.app, name="route")
app.add_typer(bench.app, name="bench")
