"""`slipway versions`, `promote`, `rollback`, `gc`: what is published, and which version answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.context import load_settings, open_repository
from slipway.cli.options import AsJson, ModelName
from slipway.cli.output import print_json, print_line, print_table
from slipway.errors import RepositoryDamaged, SlipwayError, VersionLoadFailed

if TYPE_CHECKING:
    from slipway.repository import Pointer, Repository
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
        columns = ["model", "version", "role", "created", "formats", "MB", "task", "contract", "state"]
        print_table("Published versions", columns, [[row.get(column) for column in columns] for row in rows])
    damaged = [row for row in rows if row["state"] not in ("published", "verified")]
    if damaged:
        raise RepositoryDamaged(
            f"{len(damaged)} of {len(rows)} versions do not match their manifest",
            observed="; ".join(f"{row['model']} {row['version']}: {row['state']}" for row in damaged),
            fix="roll back to a whole version and publish again",
        )


def promote(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="Becomes the stable version.")],
    as_json: AsJson = False,
) -> None:
    """Make a published version the one that answers requests without a version."""
    _report(model, move_pointer(load_settings(), model, version), as_json)


def rollback(
    model: ModelName,
    to: Annotated[int | None, typer.Option("--to", help="This version instead of the previous one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the previous version; it is still loaded and warm, so this is a pointer flip."""
    settings = load_settings()
    target = to if to is not None else open_repository(settings).rollback_target(model)
    _report(model, move_pointer(settings, model, target), as_json)


@dataclass(frozen=True)
class Moved:
    """What a promotion or rollback did. ``served``: whether a server of this repository answers with it now."""

    stable: int
    previous: int | None
    served: bool


def move_pointer(settings: Settings, model: str, version: int) -> Moved:
    """Verifies a version, points to it, and waits until a running server routes it.

    What the server refuses is pointed back, with the rollback target as it was, and the refusal raised.
    """
    repository = open_repository(settings)
    repository.verify(model, version)
    before = repository.pointer_or_none(model)
    pointer = repository.set_pointer(model, version)
    try:
        served = _wait(settings, model, pointer)
    except VersionLoadFailed:
        if before is not None:
            repository.restore_pointer(model, before, pointer)
        raise
    return Moved(pointer.stable, pointer.previous, served)


def _report(model: str, moved: Moved, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, **asdict(moved)})
        return
    print_line(f"{model}: version {moved.stable} is stable, {moved.previous or 'none'} is previous")
    print_line(
        f"{model}: the server answers with it" if moved.served else f"{model}: no server of this repository runs"
    )


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


def _wait(settings: Settings, model: str, pointer: Pointer) -> bool:
    from serving import control
    from serving.state import running_state

    state = running_state(settings.state_dir)
    if state is None or state.repository != str(settings.repository):
        return False
    control.wait_until_routed(
        settings, model, pointer.stable, timeout=settings.start_seconds, pointer_updated=pointer.updated
    )
    return True


def _rows(repository: Repository, model: str, verify: bool) -> list[dict[str, Any]]:
    pointer = repository.pointer_or_none(model)
    roles = {pointer.previous: "previous", pointer.stable: "stable"} if pointer else {}
    return [_row(repository, model, version, roles.get(version, ""), verify) for version in repository.versions(model)]


def _row(repository: Repository, model: str, version: int, role: str, verify: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "version": version, "role": role, "state": "published"}
    try:
        manifest = repository.verify(model, version) if verify else repository.manifest(model, version)
    except SlipwayError as error:
        return {**row, "state": f"damaged: {error.observed or error.message}"}
    formats = manifest.evidence.get("formats", {})
    # until the gate got its name, versions were published with its numbers under ``accuracy``
    tasks = [found.get("task") or found.get("accuracy") or {} for found in formats.values()]
    reached = [task["exported"] for task in tasks if task.get("labelled")]
    return {
        **row,
        "created": manifest.created[:19] + "Z",
        "formats": ", ".join(formats or manifest.networks),
        "MB": round(sum(entry.bytes for entry in manifest.files.values()) / 1e6, 1),
        # the worst of its formats: whichever of them answers is at least this good
        "task": round(min(reached), 4) if reached else None,
        "contract": manifest.contract_hash[:12],
        "state": "verified" if verify else "published",
    }
