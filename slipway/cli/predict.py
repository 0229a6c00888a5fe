"""`slipway predict`: images from files to a server, answers as a table, JSON or drawn onto the image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.context import load_settings
from slipway.cli.options import AsJson
from slipway.cli.output import print_json, print_line, print_table
from slipway.errors import EXIT_BAD_INPUT, InputFileUnreadable, OutputUnwritable, RequestInvalid

if TYPE_CHECKING:
    from serving.client import Prediction

_URL = "http://, grpc://, torchserve+http:// or torchserve+grpc:// and host:port; this machine's edge unless given."


def predict(
    model: Annotated[str, typer.Argument(help="A served model.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    url: Annotated[str | None, typer.Option(help=_URL)] = None,
    version: Annotated[int | None, typer.Option(help="This version; the stable one unless named.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="How many labels.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Of the task: score_threshold=0.4.")
    ] = None,
    draw: Annotated[Path | None, typer.Option("--draw", help="Write the image with its answer drawn on it.")] = None,
    request_id: Annotated[str | None, typer.Option("--request-id", help="Found again in every log.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send images to a served model. Exit code 3 when an image was refused."""
    from serving.client import PredictClient

    parameters = _parameters(param or []) | ({} if top_k is None else {"top_k": top_k})
    address = url or _edge()
    encoded = [_read(path) for path in images]
    with PredictClient(address) as client:
        answer = client.ask(model, encoded, version, parameters, request_id)
    rows: list[dict[str, Any]] = [
        {"image": str(path), **result.to_dict()} for path, result in zip(images, answer.predictions, strict=True)
    ]
    if as_json:
        values = {"model": model, "version": answer.version, "request_id": answer.request_id, "results": rows}
        print_json(values)
    else:
        print_table(f"{model} version {answer.version}", ["image", "answer"], _table(images, answer.predictions))
    if draw is not None:
        written = _draw(images, encoded, answer.predictions, draw)
        if not as_json:
            print_line("drawn: " + ", ".join(map(str, written)))
    if any(row.get("error") for row in rows):
        raise typer.Exit(EXIT_BAD_INPUT)


def _parameters(texts: Sequence[str]) -> dict[str, Any]:
    """``name=value`` with a JSON value, or text where it is none. Raises RequestInvalid."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RequestInvalid("a parameter is not NAME=VALUE", observed=text, expected="score_threshold=0.4")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _table(images: Sequence[Path], predictions: Sequence[Prediction]) -> list[tuple[str, str]]:
    """One row per line of an answer; the image's name stands at the first."""
    from slipway.cli.records import lines

    table = []
    for path, result in zip(images, predictions, strict=True):
        shown = lines(result.values) if result.error is None else [f"{result.error.code}: {result.error.message}"]
        table += [(str(path) if index == 0 else "", line) for index, line in enumerate(shown)]
    return table


def _draw(images: Sequence[Path], encoded: Sequence[bytes], predictions: Sequence[Prediction], out: Path) -> list[Path]:
    """Writes to the names of :func:`_targets`, without images that were refused. Raises OutputUnwritable."""
    import io

    from PIL import Image, ImageOps

    from serving.drawing import draw

    written = []
    for target, content, result in zip(_targets(images, out), encoded, predictions, strict=True):
        if result.error is not None:
            continue
        with Image.open(io.BytesIO(content)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        try:
            draw(upright, result.values).save(target)
        except (OSError, ValueError) as problem:  # ValueError: a name without a known ending
            raise OutputUnwritable("the drawing cannot be written", observed=f"{target}: {problem}") from problem
        written.append(target)
    return written


def _targets(images: Sequence[Path], out: Path) -> list[Path]:
    """``out`` for one image, ``<out>-<image>`` for several; images of the same name are numbered from 2."""
    if len(images) == 1:
        return [out]
    targets: list[Path] = []
    for path in images:
        target, number = out.with_stem(f"{out.stem}-{path.stem}"), 2
        while target in targets:
            target, number = out.with_stem(f"{out.stem}-{path.stem}-{number}"), number + 1
        targets.append(target)
    return targets


def _edge() -> str:
    from serving import control
    from serving.client.address import of_edge

    state = control.status(load_settings())
    return of_edge(state.edge, str(state.engine["name"]), "grpc")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileUnreadable(
            f"{path} cannot be read", observed=error.strerror, expected="an image file", fix="check the path"
        ) from error
