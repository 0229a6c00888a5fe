"""`slipway predict`: images from files to a server, answers as a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slipway.cli.context import load_settings
from slipway.cli.options import AsJson
from slipway.cli.output import print_json, print_table
from slipway.errors import EXIT_BAD_INPUT, InputFileUnreadable


def predict(
    model: Annotated[str, typer.Argument(help="A served model.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    url: Annotated[str | None, typer.Option(help="http://host:port or grpc://host:port; this machine's edge.")] = None,
    version: Annotated[int | None, typer.Option(help="This version; the stable one unless named.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="How many labels.")] = None,
    request_id: Annotated[str | None, typer.Option("--request-id", help="Found again in every log.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send images to a served model. Exit code 3 when an image was refused."""
    from serving.client import PredictClient

    address = url or _edge()
    encoded = [_read(path) for path in images]
    with PredictClient(address) as client:
        answer = client.ask(model, encoded, version=version, top_k=top_k, request_id=request_id)
    rows: list[dict[str, Any]] = [
        {"image": str(path), **result.to_dict()} for path, result in zip(images, answer.predictions, strict=True)
    ]
    if as_json:
        values = {"model": model, "version": answer.version, "request_id": answer.request_id, "results": rows}
        print_json(values)
    else:
        table = [(row["image"], _best(row)) for row in rows]
        print_table(f"{model} version {answer.version}", ["image", "answer"], table)
    if any(row.get("error") for row in rows):
        raise typer.Exit(EXIT_BAD_INPUT)


def _best(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['error']['code']}: {row['error']['message']}"
    pairs = zip(row["labels"], row["scores"], strict=True)
    return "  ".join(f"{label} {score:.4f}" for label, score in pairs)


def _edge() -> str:
    from serving import control

    return f"grpc://{control.status(load_settings()).edge['grpc']}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileUnreadable(
            f"{path} cannot be read", observed=error.strerror, expected="an image file", fix="check the path"
        ) from error
