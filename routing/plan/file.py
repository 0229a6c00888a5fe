"""Reads ``config/routes.yaml``; a mistake is shown by file, line and key."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from routing.plan.model import Routes
from slipway.errors import RoutesInvalid
from slipway.yaml_file import YamlFile


def read_routes(path: Path) -> Routes:
    """Raises RoutesInvalid that names file, line and key of every mistake."""
    file = YamlFile(path, RoutesInvalid)
    try:
        return Routes.model_validate(file.values)
    except ValidationError as problem:
        refused = file.refuse(problem, Routes)
        refused.fix = "correct the lines named above; docs/routing.md lists every key"
        raise refused from problem
