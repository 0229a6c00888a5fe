"""run.py of a bundle: builds, checks and times every format of it on this machine, and writes report.json.

One bundle may be run on several machines one after another: the report keeps one entry per compute capability. Exit
codes: 0 everything holds, 1 something does not, 2 usage, 3 the bundle is damaged, 6 this machine lacks something that a
format needs (``--only`` names the others).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from . import probe
from .bundle import REPORT, Bundle, read_bundle, sha256
from .candidates import Candidate, describe, make_candidate
from .errors import EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_OK, EXIT_USAGE, BuildFailed, EngineMissing, RunnerError
from .measure import answers, compare, failures, interleaved

SCHEMA = 1
RECORDED = "recorded"
VARIANTS = ("hardware-compatible", "version-compatible")


def main(folder: Path, arguments: Sequence[str]) -> int:
    """Runs the bundle in ``folder``; prints what it does, and returns the exit code."""
    parser = _parser()
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as stop:  # --help, or a wrong option that argparse has explained
        return int(stop.code or 0)
    try:
        return _Run(read_bundle(folder, asked.only or ()), asked).run()
    except RunnerError as problem:
        _say(f"error: {problem}")
        return problem.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add(
        "--only",
        action="append",
        metavar="FORMAT",
        help="this format; others may be left behind",
    )
    add("--engine", choices=("tensorrt", "onnxruntime"), default="tensorrt", help="onnxruntime: an oracle on the CPU")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="of the AOTInductor check")
    for variant in VARIANTS:
        add(f"--{variant}", action="store_true", help=f"also build {variant} plans, and measure what that costs")
    add("--builtin-tactics", action="store_true", help="TensorRT 8.6 without cuBLAS and cuDNN")
    add("--rounds", type=int, default=10, metavar="N", help="rounds of the interleaved timing; 0 leaves it out")
    add("--runs", type=int, default=20, metavar="N", help="runs of each network in a round")
    return parser


class _Run:
    """One call of run.py."""

    def __init__(self, bundle: Bundle, asked: argparse.Namespace) -> None:
        self.bundle, self.asked = bundle, asked
        self.arrays = bundle.reference()
        self.found = probe.probe_apart()
        self.results: dict[str, dict[str, Any]] = {}
        self.files: dict[str, str] = {}

    def run(self) -> int:
        unknown = sorted(set(self.asked.only or ()) - set(self.bundle.formats))
        if unknown:
            _say(f"error: this bundle has no {', '.join(unknown)}; it has {', '.join(self.bundle.formats)}")
            return EXIT_USAGE
        names = self.asked.only or list(self.bundle.formats)
        _say(f"{self.bundle.values['model']}: the bundle is whole; {len(self.arrays['logits'])} images")
        made = [candidate for name in names if (candidate := self._make(name, "")) is not None]
        made += [item for candidate in list(made) for item in self._variants(candidate)]
        if not made:
            return EXIT_ENVIRONMENT if all(map(_missing, self.results.values())) else self._finish()
        for candidate in made:
            self._check(candidate)
        if self.asked.rounds > 0:
            self._time(made)
        return self._finish()

    def _make(self, name: str, variant: str) -> Candidate | None:
        title = f"{name} ({variant})" if variant else name
        kind = self.bundle.formats[name]["kind"]
        result: dict[str, Any] = {"format": name, "variant": variant, "passed": False}
        self.results[title] = result
        try:
            lacks = probe.missing(self.found) if kind == "tensorrt" and self.asked.engine == "tensorrt" else []
            if lacks:
                raise EngineMissing("; ".join(lacks))
            _say(f"{title}: building")
            candidate = make_candidate(
                self.bundle, name, self.asked.engine, self.asked.device, variant, self.asked.builtin_tactics, _say
            )
        except EngineMissing as problem:
            result["missing"] = str(problem)
            _say(f"{title}: cannot run here: {problem}")
            return None
        except RunnerError as problem:
            result["failures"] = [str(problem)]
            if isinstance(problem, BuildFailed):
                result["log"] = problem.log
            _say(f"{title}: FAILED: {problem} {result.get('log', '')}")
            return None
        result["built"] = candidate.built
        _say(f"{title}: {describe(candidate.built)}")
        return candidate

    def _variants(self, plain: Candidate) -> list[Candidate]:
        if plain.built["engine"] != "tensorrt":
            return []
        asked = [variant for variant in VARIANTS if getattr(self.asked, variant.replace("-", "_"))]
        return [made for variant in asked if (made := self._make(plain.format, variant)) is not None]

    def _check(self, candidate: Candidate) -> None:
        """Runs every image in the largest batch and some in the others; records the answers and judges them."""
        result, arrays = self.results[candidate.name], self.arrays
        sizes = [int(size) for size in self.bundle.values["batch_sizes"]]
        held_out, subset = arrays["pixels"][: len(arrays["logits"])], arrays["subset"]
        try:
            found = answers(candidate.engine, held_out, max(sizes))
            others = {size: answers(candidate.engine, held_out[subset], size) for size in sizes}
            requested = self._requested(candidate)
        except RunnerError as problem:
            result["failures"] = [str(problem)]
            _say(f"{candidate.name}: FAILED: {problem}")
            return
        step = float(self.bundle.formats[candidate.format]["step"])
        measured = compare(found, arrays["logits"], arrays["labels"], step)
        labels = arrays["labels"][subset]
        by_size = {size: compare(part, arrays["logits"][subset], labels, step) for size, part in others.items()}
        limits = self.bundle.formats[candidate.format]["thresholds"]
        wrong = failures(measured, limits)
        # a few images say nothing about the task
        parity = {key: value for key, value in limits.items() if key not in ("max_drop", "min_accuracy")}
        wrong += [f"batch {size}: {line}" for size, part in by_size.items() for line in failures(part, parity)]
        result |= {"measured": measured, "batch_sizes": {str(size): part for size, part in by_size.items()}}
        result |= {"thresholds": limits, "failures": wrong, "passed": not wrong}
        if not candidate.variant:
            self._record(candidate, found, requested)
        _say(f"{candidate.name}: {'passed' if not wrong else 'FAILED: ' + '; '.join(wrong)} {describe(measured)}")

    def _requested(self, candidate: Candidate) -> np.ndarray:
        """float32[sum of sizes, classes]: the answers to exactly the batches that the gates will ask for."""
        ends = np.cumsum(self.arrays["request_sizes"])
        batches = np.split(self.arrays["request_images"], ends[:-1])
        return np.concatenate([candidate.engine.run(self.arrays["pixels"][batch]) for batch in batches])

    def _record(self, candidate: Candidate, found: np.ndarray, requested: np.ndarray) -> None:
        path = self.bundle.folder / RECORDED / f"{candidate.format}-{self._key()}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, answers=found, requested=requested)
        self.results[candidate.name]["recorded"] = self._own(path)
        if candidate.file is not None:
            self.results[candidate.name]["file"] = self._own(self.bundle.folder / candidate.file)

    def _time(self, made: list[Candidate]) -> None:
        largest = max(int(size) for size in self.bundle.values["batch_sizes"])
        working = {item.name: item.engine for item in made if "measured" in self.results[item.name]}
        if not working:
            return
        times = interleaved(working, self.arrays["pixels"], sorted({1, largest}), self.asked.rounds, self.asked.runs)
        for name, found in times.items():
            self.results[name]["times"] = found
            _say(f"{name}: {describe({f'batch {size}': round(row['ms_per_image'], 4) for size, row in found.items()})}")
        for item in made:
            if item.variant and item.name in times and item.format in times:
                self.results[item.name]["cost"] = _cost(
                    self.results[item.format], self.results[item.name], times[item.format], times[item.name]
                )

    def _finish(self) -> int:
        path = self.bundle.folder / REPORT
        report: dict[str, Any] = {"schema": SCHEMA, "bundle": self.bundle.digest, "runs": {}}
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before.get("bundle") == self.bundle.digest:
                report = before
        earlier = report["runs"].get(self._key(), {})
        if earlier.get("engine") != self.asked.engine:
            earlier = {}
        report["runs"][self._key()] = {
            "engine": self.asked.engine,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": {"system": platform.system(), "machine": platform.machine(), **self.found},
            # what `--only` left out keeps what an earlier call found
            "results": {**earlier.get("results", {}), **self.results},
            "files": {**earlier.get("files", {}), **self.files},
        }
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        path.write_text(text, encoding="utf-8")
        failed = [name for name, result in self.results.items() if not result["passed"] and not _missing(result)]
        skipped = [name for name, result in self.results.items() if _missing(result)]
        _say(f"report: {path}: failed: {', '.join(failed) or 'none'}; cannot run here: {', '.join(skipped) or 'none'}")
        return EXIT_FAILED if failed else EXIT_ENVIRONMENT if skipped else EXIT_OK

    def _key(self) -> str:
        """``9.0``, or what ran instead of a GPU: such a run can be read, and never be published."""
        devices = self.found["devices"]
        if self.asked.engine == "onnxruntime" or not devices:
            return "cpu"
        return str(devices[0]["compute_capability"])

    def _own(self, path: Path) -> str:
        name = path.relative_to(self.bundle.folder).as_posix()
        self.files[name] = sha256(path)
        return name


def _missing(result: dict[str, Any]) -> bool:
    """Whether it could not be tried on this machine."""
    return "missing" in result


def _cost(
    plain: dict[str, Any], variant: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """What a compatible plan costs against the plain one: ratios of time by batch and of size."""
    return {
        "time": {size: after[size]["ms_per_image"] / before[size]["ms_per_image"] for size in before},
        "bytes": variant["built"]["bytes"] / plain["built"]["bytes"],
    }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
