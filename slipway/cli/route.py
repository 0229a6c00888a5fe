"""`slipway route`: canaries and shadows of a model, what was seen of them, promotion and abort."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from slipway.cli import route_status
from slipway.cli.context import load_settings
from slipway.cli.options import AsJson, complete_published
from slipway.cli.output import print_json, print_line
from slipway.errors import RolloutRefused, RoutesInvalid

if TYPE_CHECKING:
    from routing.plan.model import RoutePlan
    from routing.rollout.state import RolloutState
    from slipway.settings import Settings

_WATCH_SECONDS = 1.0


class _ModelOrCommand(TyperGroup):
    """`slipway route digits ...` is `slipway route model digits ...`: what is no command is a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["model", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Split traffic between versions: `slipway route MODEL --canary 2=10%`; options: `slipway route model --help`.",
    cls=_ModelOrCommand,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("model")
def model(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A published model.", autocompletion=complete_published)
    ] = None,
    canary: Annotated[str | None, typer.Option(metavar="VERSION[=SHARE]", help="Units see it, as 2=10%.")] = None,
    shadow: Annotated[str | None, typer.Option(metavar="VERSION[=SHARE]", help="Gets copies nobody sees.")] = None,
    steps: Annotated[str | None, typer.Option(help="Shares to walk: 1%,5%,25%,50%,100%.")] = None,
    bake: Annotated[float | None, typer.Option(help="Seconds that a step lasts at least.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Follow the verdict: next step, promote, abort.")] = False,
    unit: Annotated[list[str] | None, typer.Option(help="header:NAME or cookie:NAME that names a unit.")] = None,
    override: Annotated[str | None, typer.Option(help="Header that names a version and always wins.")] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="UNIT=VERSION", help="A unit that sees VERSION.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME[=0%-50%]", help="Excludes others of that layer.")] = None,
    record: Annotated[str | None, typer.Option(help="Share of requests whose predictions are kept.")] = None,
    compare: Annotated[str | None, typer.Option(help="Share of the canary's requests asked of stable too.")] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep recorded images for the report.")] = False,
    fallback: Annotated[bool, typer.Option(help="Ask the stable version when the canary fails.")] = True,
    try_timeout: Annotated[float | None, typer.Option(help="Seconds that the canary has to answer.")] = None,
    rule: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A rule of the verdict.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make the canary the stable version.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="All units back to the stable version at once.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End it without a judgement.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Arms, traffic, guardrails, verdict so far.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="With --status: again every second, until it is over.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a canary or a shadow, change it, end it, or show it (which is what MODEL alone does)."""
    from routing.plan.options import Options

    options = Options(
        canary, shadow, steps, bake, auto, unit or (), override, allow or (), layer, record, compare, keep_images,
        fallback, try_timeout, rule or (),
    )  # fmt: skip
    starts = options != Options()
    verb = _one_of(starts=starts, promote=promote, abort=abort, stop=stop, status=status or watch or html is not None)
    settings = load_settings()
    if name is None:
        _all(settings, verb, watch, html, as_json)
    elif verb == "status":
        _show(settings, name, watch, html, as_json)
    else:
        _act(settings, name, verb, options, as_json)


@app.command("apply")
def apply(
    file: Annotated[Path | None, typer.Argument(help="Declared plans; config/routes.yaml unless named.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a declared file would change, ask, and make it so. Models that it does not name stay as they are."""
    from routing.plan.file import read_routes
    from routing.rollout.declared import changes

    settings = load_settings()
    found = changes(settings, read_routes(file or settings.root / "config" / "routes.yaml"))
    wanted = [item for item in found if item.acts]
    if not as_json:
        for item in found:
            print_line("\n  ".join([f"{item.model}: {item.says}", *item.lines]))
        if not found:
            print_line("no model is declared")
    if wanted and not yes:
        if as_json:
            raise RoutesInvalid("--json cannot ask", fix="add --yes")
        typer.confirm("apply?", abort=True)
    states = [_start(settings, item.model, item.plan) for item in wanted]
    if as_json:
        print_json({"changes": [item.to_dict() for item in found], "rollouts": [_brief(state) for state in states]})
    else:
        for state in states:
            _tell(state)


@app.command("feedback")
def feedback(
    file: Annotated[Path, typer.Argument(help="JSON lines: request_id with label, outcome and value, or correct.")],
    as_json: AsJson = False,
) -> None:
    """Labels and outcomes of answered requests, for the verdict."""
    from routing.controller.database import take_feedback

    taken = take_feedback(load_settings(), file)
    if as_json:
        print_json({"accepted": taken})
    else:
        print_line(f"{taken} taken")


@app.command("drift")
def drift(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A model.", autocompletion=complete_published)],
    version: Annotated[int, typer.Option(help="Of which version this is said.")],
    reason: Annotated[str, typer.Option(help="In words, for the status and the report.")] = "",
    over: Annotated[bool, typer.Option("--over", help="It drifts no more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Report that the inputs or answers of a version drift: a canary that follows its verdict is aborted."""
    from routing.drift import take

    said = {"model": name, "version": version, "drift": not over, "reason": reason}
    report = take(load_settings(), json.dumps(said).encode())
    if as_json:
        print_json(report.model_dump())
    else:
        print_line(f"{name}: version {version} is reported to drift{' no more' if over else ''}")


def _one_of(**asked: bool) -> str:
    """The one thing that was asked for; status when nothing was."""
    found = [key for key, value in asked.items() if value]
    if len(found) > 1:
        names = {"starts": "a canary, a shadow or their options"}
        raise RoutesInvalid(
            "these do not go together",
            observed=" and ".join(names.get(key, f"--{key}") for key in found),
            fix="ask for one thing at a time",
        )
    return found[0] if found else "status"


def _all(settings: Settings, verb: str, watch: bool, html: Path | None, as_json: bool) -> None:
    if verb != "status" or watch or html is not None:
        raise RoutesInvalid("no model is named", fix="slipway route MODEL ...; `slipway versions` lists the models")
    values = route_status.every(settings)
    if as_json:
        print_json({"rollouts": values})
    else:
        route_status.print_list(values)


def _act(settings: Settings, name: str, verb: str, options: Any, as_json: bool) -> None:
    from routing.plan.options import compile_plan
    from routing.rollout import control

    if verb == "starts":
        state = _start(settings, name, compile_plan(options))
    elif verb == "stop":
        found = control.stop(settings, name)
        if found is None:
            print_line(f"{name}: its rollout could not be understood and was removed")
            return
        state = found
    else:
        state = control.promote(settings, name) if verb == "promote" else control.abort(settings, name)
        state = _follow(settings, state, "promoted" if verb == "promote" else "aborted")
    if as_json:
        print_json(_brief(state))
    else:
        _tell(state)


def _start(settings: Settings, name: str, plan: RoutePlan) -> RolloutState:
    from routing.controller.companion import check_database, ensure_controller
    from routing.rollout import control

    check_database(settings)
    state = control.start(settings, name, plan)
    ensure_controller(settings, anew=True)
    return state


def _follow(settings: Settings, state: RolloutState, wanted: str) -> RolloutState:
    """Until it is as ``wanted``; the controller goes on with it should this be interrupted. Raises RolloutRefused."""
    from routing.controller.companion import ensure_controller
    from routing.rollout import control

    ensure_controller(settings)
    experiment = state.experiment
    limit = time.monotonic() + settings.start_seconds
    while state.status in ("promoting", "aborting"):
        if time.monotonic() > limit:
            raise RolloutRefused(
                f"{state.model} is not promoted yet: the server does not route version {state.plan.canary}",
                observed=f"status {state.status} after {settings.start_seconds:.0f} s",
                fix=f"`slipway status` says why; it goes on by itself, `slipway route {state.model} --abort` ends it",
            )
        time.sleep(0.1)
        state = control.touch(settings, state.model)
    if (state.status, state.experiment) != (wanted, experiment):
        why = "; ".join(state.reasons)
        raise RolloutRefused(
            f"{state.model} is not {wanted}", observed=state.status + (f": {why}" if why else ""),
            fix=f"`slipway route {state.model} --status` shows what happened",
        )  # fmt: skip
    return state


def _show(settings: Settings, name: str, watch: bool, html: Path | None, as_json: bool) -> None:
    if html is not None:
        from routing.controller.report_file import write_report

        write_report(settings, name, html)
        print_line(f"{name}: the report is in {html}")
        return
    while True:
        values = route_status.one(settings, name)
        if as_json:
            print_json(values)
        else:
            if watch and sys.stdout.isatty():
                print_line("\033[H\033[2J")
            route_status.print_one(values)
        if not watch or not values["active"]:
            return
        time.sleep(_WATCH_SECONDS)


def _brief(state: RolloutState) -> dict[str, Any]:
    return route_status.brief(state)


def _tell(state: RolloutState) -> None:
    why = "; ".join(state.reasons)
    print_line(f"{state.model}: {state.status}" + (f" ({why})" if why else "") + f", {route_status.arms_of(state)}")
