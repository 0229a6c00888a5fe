"""Judges one artefact again by one gate, from a published version or from what was kept of a failed export."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from export.reproduce.places import places
from export.reproduce.scripts import INPUTS, SCHEMA
from slipway.errors import RepositoryDamaged, SamplesInvalid, SlipwayError, SourceInvalid, SpecInvalid
from slipway.files import sha256_file
from slipway.settings import Settings
from slipway.spec import ModelSpec

if TYPE_CHECKING:
    from export.formats.base import Artifact
    from export.gates.base import Candidate, GateResult
    from export.reproduce.subject import Subject


@dataclass(frozen=True)
class Reproduced:
    """``result``: what the gate says now; ``recorded``: what it said then, as GateResult.to_dict gave it;
    ``differs``: names of measured numbers that are not the same now."""

    result: GateResult
    recorded: Mapping[str, Any]
    differs: tuple[str, ...]


def main(folder: Path, format_name: str, gate: str, arguments: Sequence[str] | None = None) -> int:
    """What a script does: prints the numbers and the verdict, then and now, and returns 0 or 1.

    ``folder``: where the script and ``inputs.json`` lie. An error is printed without a traceback and returns its
    exit code."""
    parser = argparse.ArgumentParser(description=f"Judge {format_name} again by the gate {gate}.")
    parser.add_argument("--root", type=Path, help="the project: holds config/models; found from the working directory")
    root: Path | None = parser.parse_args(arguments).root
    try:
        done = reproduce(folder, format_name, gate, load_settings(folder, root))
    except SlipwayError as problem:
        print(problem, file=sys.stderr)  # noqa: T201  # a script's own output
        return problem.exit_code
    print("\n".join(report(done)))  # noqa: T201
    return 0 if done.result.passed else 1


def load_settings(folder: Path, root: Path | None) -> Settings:
    """The settings of the project in ``root``; without it the one that the environment or the folders name."""
    environ = dict(os.environ)
    if root is not None:
        environ["SLIPWAY_ROOT"] = str(root.absolute())
    return Settings.load(environ)


def reproduce(folder: Path, format_name: str, gate: str, settings: Settings) -> Reproduced:
    """Runs one gate on one artefact again.

    Raises RepositoryDamaged when inputs.json or the artefact is missing or changed, SamplesInvalid for other images,
    SourceInvalid for other weights, and what loading raises.
    """
    from export.reproduce.subject import load_subject

    inputs = _read(folder / INPUTS)
    recorded = _recorded(inputs, format_name, gate)
    if format_name in inputs["artifacts"]:
        _artifact(folder, inputs, format_name)  # a file that is not there needs no trained model to say so
    try:
        spec = ModelSpec.model_validate(inputs["spec"])
    except ValidationError as problem:
        raise SpecInvalid(f"{INPUTS}: the specification is not one: {problem.errors()[0]['msg']}") from problem
    subject = load_subject(spec, settings)
    _check_same(inputs, subject)
    result = _judged(folder, inputs, format_name, gate, subject)
    return Reproduced(result, recorded, _differs(recorded["measured"], result.to_dict()["measured"]))


def report(done: Reproduced) -> list[str]:
    """Lines for people: verdict and numbers now, and whether they are those of then."""
    now, then = done.result.to_dict(), done.recorded
    lines = [f"{now['format']} {now['name']}: {'passed' if now['passed'] else 'FAILED'}"]
    lines += [f"  found    {now['found']}", f"  allowed  {now['allowed']}"] if now["found"] else []
    lines += [f"  reason   {now['reason']}"] if now["reason"] else []
    lines += [f"  {name} = {json.dumps(value)}" for name, value in now["measured"].items()]
    same = "the same verdict" if now["passed"] == then["passed"] else "ANOTHER VERDICT"
    numbers = f"other numbers: {', '.join(done.differs)}" if done.differs else "the same numbers"
    return [*lines, f"recorded: {'passed' if then['passed'] else 'FAILED'}, {then['found']}: {same}, {numbers}"]


def _read(path: Path) -> dict[str, Any]:
    try:
        inputs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if inputs["schema"] != SCHEMA:
            raise ValueError(f"schema {inputs['schema']}, this version reads {SCHEMA}")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RepositoryDamaged(f"{INPUTS} beside the script cannot be read", observed=problem) from problem
    return inputs


def _recorded(inputs: Mapping[str, Any], format_name: str, gate: str) -> Mapping[str, Any]:
    for result in inputs["results"]:
        if (result["format"], result["name"]) == (format_name, gate):
            found: Mapping[str, Any] = result
            return found
    raise RepositoryDamaged(f"{INPUTS} has no result of {format_name} {gate}")


def _artifact(folder: Path, inputs: Mapping[str, Any], format_name: str) -> Artifact:
    from export.formats.base import Artifact

    entry = inputs["artifacts"].get(format_name)
    if entry is None:
        raise RepositoryDamaged(f"{INPUTS} has no artefact {format_name}")
    file, digests = entry["file"], entry["sha256"]
    there = places(folder.parent, inputs["model"], format_name, file)
    path = next((item for item in there if sha256_file(item) == digests[file]), None)
    if path is None:
        raise RepositoryDamaged(
            f"{format_name}: {file} is not the file that was judged" if there else f"{format_name}: {file} is missing",
            observed=", ".join(sha256_file(item)[:12] for item in there) or "no such file",
            expected=f"sha256 {digests[file][:12]}",
        )
    companions = tuple(path.parent / name for name in digests if name != file)
    for item in companions:
        if not item.is_file() or sha256_file(item) != digests[item.name]:
            raise RepositoryDamaged(f"{format_name}: {item.name} is not the file that was judged")
    return Artifact(format_name, path, 0.0, {}, companions)


def _check_same(inputs: Mapping[str, Any], subject: Subject) -> None:
    held_out = subject.reference.held_out
    if held_out.digest != inputs["images"]["sha256"]:
        raise SamplesInvalid(
            "these are not the images that the export was judged on",
            observed=f"{len(held_out.images)} images in {inputs['images']['folder']}, digest {held_out.digest[:12]}",
            expected=f"digest {inputs['images']['sha256'][:12]}",
            fix="restore the folder, or name the project that has it with --root",
        )
    if subject.weights != inputs["weights"]:
        raise SourceInvalid(
            "these are not the weights that were exported",
            observed=subject.weights[:12],
            expected=inputs["weights"][:12],
            fix="restore the checkpoint that the specification names",
        )


def _judged(folder: Path, inputs: Mapping[str, Any], format_name: str, gate: str, subject: Subject) -> GateResult:
    from export.gates import preprocessing, speed
    from export.gates.registry import find_gate
    from slipway.repository import Repository

    reference, settings = subject.reference, subject.settings
    if gate == preprocessing.NAME:  # it looks at the model, not at an artefact
        return preprocessing.check_model(reference, subject.spec, settings.root)
    if gate == speed.NAME:  # formats are measured in turns with each other
        named = [result["format"] for result in inputs["results"] if result["name"] == gate]
        candidates = [_candidate(_artifact(folder, inputs, name)) for name in named]
        results = speed.judge_speed(reference, candidates, Repository(settings.repository))
        return next(result for result in results if result.format == format_name)
    return find_gate(gate).check(reference, _candidate(_artifact(folder, inputs, format_name)))


def _candidate(artifact: Artifact) -> Candidate:
    from export.formats.registry import find_format
    from export.gates.base import Candidate

    kind = find_format(artifact.format)
    return Candidate(artifact.format, lambda: kind.session(artifact), kind.precision, artifact)


def _differs(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in {**then, **now} if then.get(name) != now.get(name))
