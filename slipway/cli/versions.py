"""`slipway versions`, `promote`, `rollback`, `gc`: what is published, and which version answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.context import load_settings, open_repository
from slipway.cli.options import AsJson, ModelName
from slipway.cli.output import print_json, print_line, print_table
from slipway.errors import RepositoryDamaged

if TYPE_CHECKING:
    from slipway.repository import Repository
    from slipway.settings import Settings


def versions(
    model: Annotated[str | None, typer.Argument(help="A published model; all of them unless named.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its sha256.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the published versions, and which of them is stable."""
    repository = open_repository()
    names = [model] if model else repository.models()
    rows = [row for name in names for row in _rows(repository, name, verify)]
    if as_json:
        print_json({"versions": rows})
    else:
        columns = ["model", "version", "role", "created", "formats", "MB", "accuracy", "contract", "state"]
        print_table("Published versions", columns, [[row.get(column) for column in columns] for row in rows])
    damaged = [row for row in rows if row["state"] not in ("published", "verified")]
    if damaged:
        raise RepositoryDamaged(
            f"{len(damaged)} of {len(rows)} versions do not match their manifest",
            observed="; ".join(f"{row['model']} {row['version']}: {row['state']}" for row in damaged),
            fix="roll back to a whole version and publish again",
        )


def promote(model: ModelName, version: Annotated[int, typer.Argument(help="Becomes the stable version.")]) -> None:
    """Make a published version the one that answers requests without a version."""
    settings = load_settings()
    pointer = open_repository(settings).set_pointer(model, version)
    print_line(f"{model}: version {pointer.stable} is stable, {pointer.previous or 'none'} is previous")
    _wait(settings, model, pointer.stable, pointer.previous)


def rollback(
    model: ModelName,
    to: Annotated[int | None, typer.Option("--to", help="This version instead of the previous one.")] = None,
) -> None:
    """Go back to the previous version; it is still loaded and warm, so this is a pointer flip."""
    settings = load_settings()
    before = open_repository(settings).pointer(model)
    pointer = open_repository(settings).rollback(model, to)
    print_line(f"{model}: back to version {pointer.stable}; {pointer.previous or 'none'} is previous")
    _wait(settings, model, pointer.stable, before.stable if before else None)


def collect(
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Also remove all but the newest KEEP.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what interrupted publications left, and old versions with --keep (never stable or previous)."""
    removed = open_repository().collect_garbage(keep)
    if as_json:
        print_json({"removed": removed})
    else:
        print_line("\n".join(f"removed {name}" for name in removed) or "nothing to remove")


def _wait(settings: Settings, model: str, version: int, before: int | None) -> None:
    """Where a server runs, returns when it routes the version; where it refuses it, points back and raises."""
    from serving import control
    from serving.state import running_state
    from slipway.errors import VersionLoadFailed

    if running_state(settings.state_dir) is None:
        return
    try:
        control.wait_until_routed(settings, model, version, timeout=settings.start_seconds)
    except VersionLoadFailed:
        if before is not None:
            open_repository(settings).set_pointer(model, before)
        raise
    print_line(f"{model}: the server answers with version {version}")


def _rows(repository: Repository, model: str, verify: bool) -> list[dict[str, Any]]:
    pointer = repository.pointer(model)
    roles = {pointer.previous: "previous", pointer.stable: "stable"} if pointer else {}
    return [_row(repository, model, version, roles.get(version, ""), verify) for version in repository.versions(model)]


def _row(repository: Repository, model: str, version: int, role: str, verify: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "version": version, "role": role, "state": "published"}
    try:
        manifest = repository.verify(model, version) if verify else repository.manifest(model, version)
    except RepositoryDamaged as error:
        return {**row, "state": f"damaged: {error.observed}"}
    formats = manifest.evidence.get("formats", {})
    accuracies = [
        found["accuracy"]["exported"] for found in formats.values() if found.get("accuracy", {}).get("labelled")
    ]
    return {
        **row,
        "created": manifest.created,
        "formats": ", ".join(formats or manifest.networks),
        "MB": round(sum(entry.bytes for entry in manifest.files.values()) / 1e6, 1),
        # the worst of its formats: whichever of them answers is at least this good
        "accuracy": round(min(accuracies), 4) if accuracies else None,
        "contract": manifest.contract_hash[:12],
        "state": "verified" if verify else "published",
    }
