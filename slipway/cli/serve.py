"""`slipway serve`, `down`, `status`, `logs`: the servers of this machine."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any

import typer

from slipway.cli.context import load_settings
from slipway.cli.fleet_status import print_servers
from slipway.cli.options import AsJson, Engine
from slipway.cli.output import Steps, print_json, print_line, print_table


def serve(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it answers; stop with `down`.")] = False,
    engine: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Serve the repository: Triton or TorchServe behind Envoy, ready when every active version has answered its golden
    image."""
    from serving import control

    settings = load_settings(engine and engine.value)
    if not detach:
        control.serve_foreground(settings)
        return
    steps = Steps()
    with steps.step("serve"):
        state = control.start_detached(settings, progress=steps.say)
    if as_json:
        print_json(state.to_dict())
    else:
        _print_status(state.to_dict())


def down(
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait for requests to finish.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop what was started: no new requests, accepted ones finish, then Envoy and the engine end."""
    from serving import control

    settings = load_settings()
    stopped = control.stop(settings, timeout=timeout or settings.drain_seconds + 30)
    if as_json:
        print_json({"stopped": stopped})
    else:
        print_line("stopped" if stopped else "nothing was running")


def status(as_json: AsJson = False) -> None:
    """What is served: edge addresses, models, versions and their state. Exit code 5 when nothing runs."""
    from serving import control

    values = control.status(load_settings()).to_dict()
    if as_json:
        print_json(values)
    else:
        _print_status(values)


class Component(str, Enum):
    """Whose log: the names of the files in the logs folder."""

    supervisor = "supervisor"
    triton = "triton"
    torchserve = "torchserve"
    envoy = "envoy"
    access = "edge-access"


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the newest lines.")] = 40,
    component: Annotated[Component | None, typer.Option(help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest lines of the servers' structured logs, in the order of time: one JSON object a line."""
    from serving.log_reader import newest

    found = newest(load_settings().state_dir / "logs", lines, component.value if component else None)
    if as_json:
        print_json({"lines": [json.loads(line) for line in found]})
    else:
        for line in found:
            print_line(line)


def _print_status(values: dict[str, Any]) -> None:
    edge, engine = values["edge"], values["engine"]["name"]
    print_line(f"{engine}   phase {values.get('phase')}   edge http {edge['http']}   grpc {edge['grpc']}")
    rows = [
        (
            model["name"],
            model["routed"],
            model["pointer"],
            model.get("placement"),
            ", ".join(f"{item['version']} {item['state']}" for item in model["versions"]),
            "; ".join(item["reason"] for item in model["versions"] if item.get("reason")),
        )
        for model in values["models"]
    ]
    print_table("Served models", ["model", "answers", "pointer", "network", "versions", "reason"], rows)
    print_servers(values["servers"])
