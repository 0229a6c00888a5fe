"""Options and arguments that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from slipway.cli.context import load_settings, open_repository


def _complete_specs(incomplete: str) -> list[str]:
    folder = load_settings().models_dir
    return sorted(path.stem for path in folder.glob(f"{incomplete}*.yaml"))


def complete_published(incomplete: str) -> list[str]:
    """Published models that begin so."""
    models = open_repository().models()
    return [name for name in models if name.startswith(incomplete)]


SpecName = Annotated[str, typer.Argument(metavar="MODEL", help="In config/models.", autocompletion=_complete_specs)]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A published model.", autocompletion=complete_published)
]


class EngineName(str, Enum):
    """Model servers, as SLIPWAY_ENGINE spells them."""

    triton = "triton"
    torchserve = "torchserve"


Engine = Annotated[EngineName | None, typer.Option("--engine", help="The model server; SLIPWAY_ENGINE unless given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
