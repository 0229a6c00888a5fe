"""Writes docs/errors.md and docs/spec.md from the code: `python docs/generate.py`. A test compares."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from slipway import errors, spec
from slipway.settings import Settings

HERE = Path(__file__).resolve().parent
EXITS = [
    (errors.EXIT_OK, "done"),
    (errors.EXIT_FAILED, "failed: a gate, a benchmark, a server, a damaged repository"),
    (errors.EXIT_USAGE, "wrong usage of the command line"),
    (errors.EXIT_BAD_INPUT, "bad input: specification, settings, image, request"),
    (errors.EXIT_NOT_FOUND, "not found: model, version, specification"),
    (errors.EXIT_NOT_RUNNING, "nothing is running, or the server does not answer"),
    (errors.EXIT_ENVIRONMENT, "this machine or environment lacks something: `slipway doctor`"),
    (130, "interrupted from the keyboard"),
    (141, "the reader of the output went away"),
]


def errors_page() -> str:
    """Every code with its meaning, HTTP status and exit code."""
    lines = [
        "# Errors",
        "",
        "Written by `docs/generate.py` from `slipway/errors/`. Codes never change once released.",
        "",
        "Over HTTP an error is JSON: `error` (one line that starts with the code), `code`, `request_id`. Over gRPC the",
        "status message starts with the code. The command line prints code, what was observed, what was expected and",
        'what to do; with `--json` the same as `{"error": {...}}` on stderr.',
        "",
        "| code | meaning | HTTP | exit |",
        "|---|---|---|---|",
    ]
    for cls in sorted(errors.all_errors(), key=lambda item: item.code):
        meaning = " ".join((cls.__doc__ or "").split())
        if cls is errors.SlipwayError:
            meaning = "A defect of Slipway: the log holds the traceback under the request id."
        lines.append(f"| `{cls.code}` | {meaning} | {cls.http_status} | {cls.exit_code} |")
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXITS]
    return "\n".join(lines) + "\n"


def spec_page() -> str:
    """Every key of a model specification and every setting."""
    lines = [
        "# Model specifications and settings",
        "",
        "Written by `docs/generate.py` from `slipway/spec/` and `slipway/settings.py`.",
        "",
        "## config/models/<name>.yaml",
        "",
        "| key | type | default | |",
        "|---|---|---|---|",
        *_rows(spec.ModelSpec, ""),
        "",
        "`--set KEY=VALUE` of `slipway export` changes a key for one run. Paths are relative to the project.",
        "",
        "## Settings",
        "",
        "In `config/environments/<SLIPWAY_ENVIRONMENT or local>.yaml`, or as `SLIPWAY_<KEY>` in the environment.",
        "",
        "| key | type | default | |",
        "|---|---|---|---|",
        *_rows(Settings, ""),
    ]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        inside = (field.annotation, *typing.get_args(field.annotation))
        inner = [item for item in inside if _is_section(item)]
        default = "required" if field.is_required() else _default(field.default)
        many = typing.get_origin(field.annotation) is dict and bool(inner)
        if prefix and inner and name in _SHARED:
            rows.append(f"| `{prefix}{name}` | as `{name}` | {default} | {field.description or ''} |")
            continue
        if inner:
            rows += _rows(inner[0], f"{prefix}{name}.<name>." if many else f"{prefix}{name}.")
        if not inner or (len(inside) > 2 and not many):
            rows.append(f"| `{prefix}{name}` | {_type(field.annotation)} | {default} | {field.description or ''} |")
    return rows


#: Sections of a network that are those of a model with one, and not listed again.
_SHARED = ("source", "input", "normalise", "postprocess", "embedding")


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _default(value: object) -> str:
    return "" if value is PydanticUndefined else f"`{value}`".replace("|", "\\|")


def _type(annotation: object) -> str:
    if annotation is spec.FormatName:
        return "format"
    if typing.get_origin(annotation) is typing.Literal:
        return " \\| ".join(str(item) for item in typing.get_args(annotation))
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = text.replace(str(spec.FormatName), "format")
    for noise in ("typing.", "slipway.spec.", "pathlib.", "_local.", "input."):
        text = text.replace(noise, "")
    while "Annotated[" in text:
        before, _, rest = text.partition("Annotated[")
        kind = rest.split(",", 1)[0]
        depth, end = 1, 0
        while depth:
            depth += {"[": 1, "]": -1}.get(rest[end], 0)
            end += 1
        text = before + kind + rest[end:]
    return text.replace("|", "\\|")


PAGES = {"errors.md": errors_page, "spec.md": spec_page}


def main() -> int:
    """Writes every page."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
