"""Other servers of a fleet in `slipway status` and `slipway route --status`: which version each has, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slipway.cli.output import print_table

#: As in the state file: ``{"name", "versions": [{"model", "version", "state", "reason"}]}``.
Server = dict[str, Any]


def only(servers: Iterable[Server], model: str, versions: Iterable[int | None]) -> list[Server]:
    """What the servers have of some versions of one model."""
    wanted = set(versions)
    return [
        {**server, "versions": [v for v in server["versions"] if v["model"] == model and v["version"] in wanted]}
        for server in servers
    ]


def print_servers(servers: Iterable[Server]) -> None:
    """One line per server and model; nothing without other servers."""
    rows: list[tuple[str | None, ...]] = []
    for server in servers:
        models = list(dict.fromkeys(item["model"] for item in server["versions"]))
        rows += [_row(server["name"], name, [v for v in server["versions"] if v["model"] == name]) for name in models]
        if not models:
            rows.append((server["name"], None, "not asked yet", None))
    if rows:
        print_table("Other servers", ["server", "model", "versions", "reason"], rows)


def _row(name: str, model: str, versions: list[dict[str, Any]]) -> tuple[str | None, ...]:
    states = ", ".join(f"{item['version']} {item['state']}" for item in versions)
    reasons = dict.fromkeys(item["reason"] for item in versions if item.get("reason"))
    return name, model, states, "; ".join(reasons)
