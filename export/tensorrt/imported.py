"""Brings the plans of a bundle back: same files, same export, and judged here by the gates themselves.

A GPU machine records what every plan answered to every held-out image, in the batches that the gates ask for. The
gates of this project then judge those recordings by the thresholds of this specification, so a report cannot pass a
plan that its own answers fail; and its numbers are compared with the recordings, so it cannot claim others.

A plan is code for a GPU, and a version-compatible one carries code for the CPU too. sha256 shows that nothing changed
since the report was written, not who wrote it: import from machines that you trust.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import Artifact
from export.gates.base import Candidate, GateResult, Reference
from export.gates.registry import judge
from export.tensorrt.plans import FILE_NAME, describe_plans, write_plans
from export.tensorrt.requests import Judge, image_key
from export.tensorrt.runner import bundle as layout
from export.tensorrt.runner.errors import BundleDamaged
from export.tensorrt.runner.job import Job
from export.tensorrt.runner.measure import compare
from slipway.errors import NetworkFailed, PublishRefused

_AGAIN = "write the bundle again with `slipway export MODEL --plan-bundle DIR`, and run it"


@dataclass(frozen=True)
class ImportedPlans:
    """``artifacts``: one per format, with a plan per compute capability. ``results``: the gates' verdicts, one set per
    format and compute capability. ``candidates``: the recorded networks that they judged. ``report``: what the GPU
    machines measured, times and costs of compatibility among it, for the evidence."""

    artifacts: list[Artifact]
    results: list[GateResult]
    candidates: list[Candidate]
    report: dict[str, Any] = field(default_factory=dict)


def import_plans(
    folder: Path,
    reference: Reference,
    identity: Mapping[str, Any],
    out_dir: Path,
    base: Callable[[], Path] | None = None,
    judge_with: Judge = judge,
) -> ImportedPlans:
    """Verifies a bundle that was run, copies its plans into ``out_dir/<format>/`` and judges them.

    ``identity``: of this export, which must be the bundle's. ``base``: see Candidate.base. A gate that fails is in the
    results; PublishRefused is raised for what must not be looked at further: changed files, another export, a report
    of another bundle, numbers that the recordings do not bear out, or no plan at all (a run with onnxruntime makes
    none).
    """
    bundle, report, runs = _verified(folder, identity)
    arrays = bundle.reference()
    names = [name for name, entry in bundle.formats.items() if entry["kind"] == "tensorrt"]
    found = ImportedPlans([], [], [], report)
    for name in names:
        rows = {capability: run["results"][name] for capability, run in runs.items() if "recorded" in _row(run, name)}
        if not rows:
            continue
        artifact = _artifact(bundle, name, rows, out_dir / name)
        found.artifacts.append(artifact)
        for capability, row in sorted(rows.items()):
            candidate = replace(_candidate(bundle, artifact, row, arrays), base=base)
            found.candidates.append(candidate)
            results = _judged(reference, candidate, judge_with)
            found.results.extend(_with_capability(result, capability) for result in results)
    if not found.artifacts:
        raise PublishRefused("no plan of the bundle was built", observed=_reasons(runs), fix="see report.json")
    return found


def check_bundle(folder: Path, identity: Mapping[str, Any]) -> None:
    """Raises the PublishRefused that :func:`import_plans` would raise for the bundle as such: to be asked before
    minutes are spent on the other formats."""
    _verified(folder, identity)


def _verified(
    folder: Path, identity: Mapping[str, Any]
) -> tuple[layout.Bundle, dict[str, Any], dict[str, dict[str, Any]]]:
    if not folder.is_dir():
        raise PublishRefused("there is no such bundle", observed=folder, fix=_AGAIN)
    try:
        bundle = layout.read_bundle(folder)
    except BundleDamaged as problem:
        raise PublishRefused("the bundle is not what was written", observed=str(problem), fix=_AGAIN) from problem
    _assert_same_export(bundle, identity)
    report = _read_report(bundle)
    runs = _plan_runs(report)
    _assert_files(bundle, runs)
    return bundle, report, runs


class RecordedNetwork:
    """Answers from a recording, ``uint8[N, H, W, 3] -> float32[N, classes]``; raises NetworkFailed for other images.

    A batch that was recorded gets the very answer that the GPU gave to it; another one of known images gets what each
    of them got in the largest batch.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], answers: NDArray[Any], requested: NDArray[Any]) -> None:
        pixels, ends = arrays["pixels"], np.cumsum(arrays["request_sizes"])[:-1]
        batches = np.split(arrays["request_images"], ends)
        self._batches = {
            image_key(pixels[batch]): part for batch, part in zip(batches, np.split(requested, ends), strict=True)
        }
        self._images = {image_key(image): row for image, row in zip(pixels, answers, strict=False)}

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As in the class's text."""
        known = self._batches.get(image_key(pixels))
        if known is not None and len(known) == len(pixels):
            return np.array(known)
        rows = [self._images.get(image_key(image)) for image in pixels]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            raise NetworkFailed(
                "the GPU machine has no record of these images",
                observed=f"{len(rows) - len(found)} of a batch of {len(rows)}",
                expected="batches that the gates asked for when the bundle was written",
            )
        return np.stack(found)


def _assert_same_export(bundle: layout.Bundle, identity: Mapping[str, Any]) -> None:
    there = bundle.values["identity"]
    if there.get("digest") == identity["digest"]:
        return
    differs = sorted(key for key in identity if key != "digest" and there.get(key) != identity[key])
    raise PublishRefused(
        "the bundle belongs to another export",
        observed=f"these differ: {', '.join(differs) or 'the digest'}",
        expected="the same weights, specification, images, tools and code",
        fix=_AGAIN,
    )


def _read_report(bundle: layout.Bundle) -> dict[str, Any]:
    path = bundle.folder / layout.REPORT
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        belongs = report["bundle"] == bundle.digest
        report["runs"].items()
    except FileNotFoundError as problem:
        fix = "run it on a machine with a GPU: python run.py"
        raise PublishRefused("the bundle was not run yet", observed=f"no {path}", fix=fix) from problem
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        raise PublishRefused(f"{path} is not a report", observed=str(problem), fix=_AGAIN) from problem
    if not belongs:
        raise PublishRefused("the report is of another bundle", observed=report["bundle"], expected=bundle.digest)
    return report


def _plan_runs(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs on GPUs by TensorRT; others are kept in the report and publish nothing."""
    runs: dict[str, dict[str, Any]] = dict(report["runs"])
    for key, run in runs.items():
        if not isinstance(run, dict) or not {"engine", "files", "results"} <= set(run):
            raise PublishRefused(f"the run {key} of the report is not whole", observed=sorted(run), fix=_AGAIN)
    found = {key: run for key, run in runs.items() if run["engine"] == "tensorrt" and key != "cpu"}
    if not found:
        raise PublishRefused(
            "the bundle was not run by TensorRT on a GPU, so there are no plans to publish",
            observed=", ".join(f"{key}: {run['engine']}" for key, run in runs.items()) or "no run",
            fix="run it on a machine with a GPU: python run.py",
        )
    return found


def _assert_files(bundle: layout.Bundle, runs: Mapping[str, Mapping[str, Any]]) -> None:
    wrong = [line for run in runs.values() for line in layout.differing(bundle.folder, run["files"])]
    wrong += [
        f"{row[key]} is not among them"
        for run in runs.values()
        for row in run["results"].values()
        for key in ("file", "recorded")
        if key in row and row[key] not in run["files"]
    ]
    if wrong:
        raise PublishRefused("files of the run are not what it wrote", observed="; ".join(wrong), fix="run it again")


def _artifact(bundle: layout.Bundle, name: str, rows: Mapping[str, Mapping[str, Any]], target: Path) -> Artifact:
    """Copies the plans and writes plans.json."""
    entry = bundle.formats[name]
    job = Job.read(bundle.folder / entry["job"])
    target.mkdir(parents=True)
    built = {}
    for capability, row in rows.items():
        source = bundle.folder / row["file"]
        shutil.copyfile(source, target / source.name)
        if row["built"]["compute_capability"] != capability:
            raise PublishRefused(f"{name}: the report names two GPUs for one plan", observed=capability)
        built[capability] = {**row["built"], "file": source.name}
    values = describe_plans(name, entry["precision"], job, built, target)
    write_plans(target / FILE_NAME, values)
    seconds = sum(float(row["built"]["seconds"]) for row in rows.values())
    plans = tuple(target / plan["file"] for plan in values["plans"].values())
    details = {**values, "times": {capability: row.get("times") for capability, row in rows.items()}}
    return Artifact(name, target / FILE_NAME, seconds, details, tuple(dict.fromkeys(plans)))


def _candidate(
    bundle: layout.Bundle, artifact: Artifact, row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Candidate:
    with np.load(bundle.folder / row["recorded"], allow_pickle=False) as recorded:
        answers, requested = recorded["answers"], recorded["requested"]
    entry = bundle.formats[artifact.format]
    _assert_borne_out(artifact.format, row["measured"], answers, arrays, float(entry["step"]))
    network = RecordedNetwork(arrays, answers, requested)
    return Candidate(artifact.format, lambda: network, entry["precision"], artifact)


def _judged(reference: Reference, candidate: Candidate, judge_with: Judge) -> list[GateResult]:
    """The gates' verdicts. One that fails looks for the cause with images that nobody recorded: then that it fails is
    all that can be said here, and the report says the rest."""
    try:
        return judge_with(reference, candidate)
    except NetworkFailed as problem:
        reason = f"a gate fails, and its cause cannot be looked for in a recording ({problem.message})"
        return [GateResult("recorded", candidate.format, False, reason=reason, found="a gate fails")]


def _assert_borne_out(
    name: str, claimed: Mapping[str, Any], answers: NDArray[np.float32], arrays: Mapping[str, NDArray[Any]], step: float
) -> None:
    """Whether the report's numbers follow from the recording; raises PublishRefused when one does not."""
    found = compare(answers, arrays["logits"], arrays["labels"], step)
    wrong = [key for key, value in found.items() if not _same(value, claimed.get(key))]
    if wrong:
        raise PublishRefused(
            f"{name}: the report's numbers do not follow from the answers that were recorded",
            observed="; ".join(f"{key}: report {claimed.get(key)}, recording {found[key]}" for key in wrong),
            fix="run the bundle again",
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return bool(a == b)


def _with_capability(result: GateResult, capability: str) -> GateResult:
    measured = {**result.measured, "compute_capability": capability}
    return replace(result, measured=measured, found=f"{result.found} (GPU {capability})")


def _row(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = run["results"].get(name, {})
    return row if "file" in row else {}


def _reasons(runs: Mapping[str, Mapping[str, Any]]) -> str:
    lines: Sequence[str] = [
        f"{name} on {capability}: {row.get('missing') or '; '.join(row.get('failures', ())) or 'not run'}"
        for capability, run in runs.items()
        for name, row in run["results"].items()
    ]
    return " | ".join(lines)
