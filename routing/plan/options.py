"""The options of `slipway route` as the plan that a file would declare; errors name the option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from routing.plan.model import RoutePlan
from slipway.errors import RoutesInvalid

#: More than any version has; Python makes no number of thousands of them.
_DIGITS = 9
#: Of a value that is refused.
_SHOWN = 80


@dataclass(frozen=True)
class Options:
    """What was written, unparsed; None and empty where an option was not given."""

    canary: str | None = None
    shadow: str | None = None
    steps: str | None = None
    bake: float | None = None
    auto: bool = False
    units: Sequence[str] = ()
    override: str | None = None
    allow: Sequence[str] = ()
    layer: str | None = None
    record: str | None = None
    compare: str | None = None
    keep_images: bool = False
    fallback: bool = True
    try_timeout: float | None = None
    rules: Sequence[str] = ()


def compile_plan(options: Options) -> RoutePlan:
    """Raises RoutesInvalid that names the option."""
    values = _simple(options)
    if options.canary is not None:
        values["canary"], share = _version("--canary", options.canary)
        values |= {} if share is None else {"share": share}
    if options.shadow is not None:
        version, share = _version("--shadow", options.shadow)
        values["shadow"] = {"version": version} | ({} if share is None else {"share": share})
    if options.allow:
        values["allow"] = dict(_allowed(item) for item in options.allow)
    if options.layer is not None:
        values["layer"] = _layer(options.layer)
    if options.rules:
        values["rules"] = _rules(options.rules)
    try:
        return RoutePlan.model_validate(values)
    except ValidationError as problem:
        raise _refused(problem) from problem


def _simple(options: Options) -> dict[str, Any]:
    given: dict[str, Any] = {
        "steps": None if options.steps is None else [part.strip() for part in options.steps.split(",") if part.strip()],
        "bake": options.bake,
        "auto": options.auto or None,
        "units": tuple(options.units) or None,
        "override": options.override,
        "record": options.record,
        "compare": options.compare,
        "keep_images": options.keep_images or None,
        "fallback": None if options.fallback else False,
        "try_timeout": options.try_timeout,
    }
    return {key: value for key, value in given.items() if value is not None}


def _version(option: str, text: str) -> tuple[int, str | None]:
    """``2=10%`` -> 2 and ``10%``; ``2`` -> 2 and None."""
    number, equals, share = text.partition("=")
    if not _is_number(number.strip()) or (equals and not share.strip()):
        raise RoutesInvalid(
            f"{option}: not a version", observed=text[:_SHOWN], expected=f"VERSION[=SHARE], as {option} 2=10%"
        )
    return int(number), share.strip() if equals else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _allowed(text: str) -> tuple[str, int]:
    unit, equals, version = text.rpartition("=")
    if not equals or not unit or not _is_number(version):
        raise RoutesInvalid("--allow: not a unit and a version", observed=text[:_SHOWN], expected="UNIT=VERSION")
    return unit, int(version)


def _layer(text: str) -> dict[str, str]:
    name, equals, part = text.partition("=")
    start, dash, stop = part.partition("-")
    if equals and not (start and dash and stop):
        raise RoutesInvalid("--layer: not a layer", observed=text, expected="NAME[=0%-50%]")
    return {"name": name} | ({"start": start, "stop": stop} if equals else {})


def _rules(items: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            raise RoutesInvalid(f"--rule {key}: not a YAML value", observed=text[:_SHOWN], fix="quote it") from problem
        if not equals or not key:
            raise RoutesInvalid("--rule: not a rule", observed=item, expected="KEY=VALUE")
        inside = values
        *parents, last = key.split(".")
        for parent in parents:
            inside = inside.setdefault(parent, {})
            if not isinstance(inside, dict):
                raise RoutesInvalid(f"--rule {key}: {parent} holds a value, not keys", observed=", ".join(items))
        inside[last] = value
    return values


def _refused(problem: ValidationError) -> RoutesInvalid:
    item = problem.errors()[0]
    place = [str(part) for part in item["loc"]]
    text = item["msg"].removeprefix("Value error, ")
    if not place:
        return RoutesInvalid(f"the options do not make a plan: {text}", fix="`slipway route model --help` lists them")
    if place[0] == "rules":
        return RoutesInvalid(f"--rule {'.'.join(place[1:])}: {text}", observed=item["input"])
    option = {"share": "canary", "units": "unit"}.get(place[0], place[0].replace("_", "-"))
    return RoutesInvalid(f"--{option}: {text}", observed=item["input"])
