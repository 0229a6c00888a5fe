"""When fp16 or INT8 fails its gates: finds the layers that do the damage, keeps them in fp32, and judges again.

Layers are ranked by the noise that each adds on real images (export.layers). How many of them must stay in fp32 is
then measured, not guessed: the model is exported anew with the first so many of the ranking and every gate judges it,
bisecting to the fewest that pass. What is wrong in fp32 too is no matter of precision and is left as it failed.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import Artifact, ExportOptions, Format
from export.gates.base import Candidate, GateResult, Reference
from export.layers.cause import LARGEST_HALF, cause, title
from export.layers.compare import Comparison, LayerDifference, compare
from export.layers.graph import Frame, Layer, read_frame
from slipway.errors import SlipwayError

if TYPE_CHECKING:
    import torch

#: Formats that keep nodes in fp32 when they are told to (ExportOptions.keep_float).
FORMATS = ("onnx-fp16", "onnx-int8", "onnx-int8-trt", "openvino-int8")
#: Exports and judgements at most, and the part of the layers that may stay in fp32: beyond it fp32 itself is better.
TRIES = 6
SHARE = 0.5
#: Which part of all added noise the first try removes.
_FIRST = 0.9
#: Images that rank the layers.
_IMAGES = 8

Judge = Callable[[Reference, Candidate], list[GateResult]]


@dataclass(frozen=True)
class Rescue:
    """What came of it. ``artifact`` and ``results``: the export that passes every gate, None and empty when there is
    none; ``report``: JSON-ready: ``reason`` (why there is none), ``cause``, ``kept_fp32`` (ONNX node names),
    ``layers`` (how many there are), ``tries``, and ``mb_before``, ``mb_after``, ``ms_before``, ``ms_after`` (1e6 bytes
    and milliseconds per image, batch 1)."""

    artifact: Artifact | None
    results: list[GateResult]
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def saved(self) -> bool:
        """Whether there is an export that passes."""
        return self.artifact is not None


def rescue(
    reference: Reference,
    kind: Format,
    artifact: Artifact,
    results: Sequence[GateResult],
    options: ExportOptions,
    module: torch.nn.Module,
    example: torch.Tensor,
    out_dir: Path,
    judge: Judge,
) -> Rescue | None:
    """Tries to save ``artifact``, of which a gate of ``results`` failed; its own files are left as they are.

    ``module``, ``example`` and ``options`` are those that it was exported with; ``out_dir``: a folder for new exports,
    of which the one that passes is left. None when there is nothing to try: no gate failed, it does not even execute,
    or the format cannot keep layers in fp32.
    """
    failed = [result for result in results if not result.passed]
    if not failed or kind.name not in FORMATS or any(result.name == "executes" for result in failed):
        return None
    run = _Rescue(reference, kind, artifact, options, module, example, out_dir, judge)
    return run.run(failed)


class _Rescue:
    """One attempt to save one artefact."""

    def __init__(
        self,
        reference: Reference,
        kind: Format,
        artifact: Artifact,
        options: ExportOptions,
        module: torch.nn.Module,
        example: torch.Tensor,
        out_dir: Path,
        judge: Judge,
    ) -> None:
        self._reference = reference
        self._kind = kind
        self._artifact = artifact
        self._options = options
        self._module = module
        self._example = example
        self._out_dir = out_dir
        self._judge = judge
        self._tries: list[dict[str, Any]] = []

    def run(self, failed: Sequence[GateResult]) -> Rescue:
        from export.formats.onnx import base_onnx

        frame = read_frame(base_onnx(self._module, self._example, self._options))
        reason = self._not_precision(frame, failed)
        if reason is not None:
            return self._given_up(reason)
        reason = self._everywhere(frame)
        if reason is not None:
            return self._given_up(reason)
        try:
            comparison = self._compare(frame)
        except SlipwayError as problem:
            return self._given_up(f"its layers cannot be compared: {problem}")
        groups = offenders(frame, comparison, self._nameable(frame), half=self._kind.precision == "fp16")
        limit = int(len(frame.layers) * SHARE)
        steps = _steps(groups, limit)
        if not steps:
            return self._given_up("no layer adds noise of its own that could be kept away")
        found = self._search(frame, steps, _first(groups, len(steps)))
        if found is None:
            most = len(steps[-1])
            return self._given_up(f"it fails still with the {most} worst of {len(frame.layers)} layers in fp32")
        return self._saved(frame, comparison, *found)

    def _not_precision(self, frame: Frame, failed: Sequence[GateResult]) -> str | None:
        """Whether the fp32 file, which rounds nothing, fails the same gates: then no layer's rounding is the cause."""
        from export.formats.registry import find_format

        base = Artifact("onnx", frame.path, 0.0)
        kind = find_format("onnx")
        names = {result.name for result in failed}
        results = self._judge(self._reference, Candidate("onnx", lambda: kind.session(base), "fp32", base))
        also = [result for result in results if not result.passed and result.name in {*names, "executes", "parity"}]
        if also:
            return f"fp32 fails too, so it is no matter of precision: {also[0].name}: {also[0].reason}"
        return None

    def _everywhere(self, frame: Frame) -> str | None:
        """Damage that is done to all layers, which no choice of some undoes honestly: kernels that saturate, ranges
        that were measured on something else than real images."""
        from export.gates.causes.case import Case
        from export.gates.causes.precision import integer_kernels, other_calibration

        case = Case(self._reference, self._candidate(self._artifact, frame))
        return integer_kernels(case) or other_calibration(case)

    def _candidate(self, artifact: Artifact, frame: Frame) -> Candidate:
        kind = self._kind
        return Candidate(
            artifact.format, lambda: kind.session(artifact), kind.precision, artifact, base=lambda: frame.path
        )

    def _nameable(self, frame: Frame) -> frozenset[str]:
        """Names of the nodes that the format can keep: OpenVINO drops some, casts among them, when it reads ONNX."""
        names = frozenset(layer.name for layer in frame.layers)
        if not self._kind.name.startswith("openvino"):
            return names
        from export.formats.openvino import read_onnx

        operations = {operation.get_friendly_name() for operation in read_onnx(frame.path).get_ops()}
        # a convolution with a bias is an addition of the node's name, and <name>/WithoutBiases
        return names & {name.partition("/")[0] for name in operations}

    def _compare(self, frame: Frame) -> Comparison:
        from export.layers.tapping import tap_artifact

        base = tap_artifact(Artifact("onnx", frame.path, 0.0), frame)
        return compare(frame, base, tap_artifact(self._artifact, frame), self._reference.pixels[:_IMAGES])

    def _search(
        self, frame: Frame, steps: Sequence[tuple[str, ...]], first: int
    ) -> tuple[tuple[str, ...], Artifact, list[GateResult]] | None:
        """The fewest steps of the ranking that pass, as far as TRIES reach: a first guess, all of them, then halves."""
        low, high = -1, len(steps)  # steps[low] fails, steps[high] passes
        best = None
        at = first
        while low + 1 < high and len(self._tries) < TRIES:
            tried = self._try(steps[at], frame)
            if tried is not None:
                if best is not None:
                    shutil.rmtree(best[1].path.parent)
                best, high = (steps[at], *tried), at
            elif at == len(steps) - 1:
                return None
            else:
                low = at
            at = len(steps) - 1 if best is None else (low + high) // 2
        return best

    def _try(self, kept: tuple[str, ...], frame: Frame) -> tuple[Artifact, list[GateResult]] | None:
        folder = self._out_dir / f"try-{len(self._tries) + 1}"
        folder.mkdir(parents=True)
        entry: dict[str, Any] = {"kept": len(kept), "of": len(frame.layers), "passed": False}
        self._tries.append(entry)
        try:
            made = self._kind.export(self._module, self._example, folder, replace(self._options, keep_float=kept))
        except SlipwayError as problem:
            entry["failed"] = str(problem)
            shutil.rmtree(folder)
            return None
        results = self._judge(self._reference, self._candidate(made, frame))
        failed = [result for result in results if not result.passed]
        entry.update(passed=not failed, failed="; ".join(f"{item.name}: {item.reason}" for item in failed) or None)
        if failed:
            shutil.rmtree(folder)
            return None
        return made, results

    def _saved(
        self,
        frame: Frame,
        comparison: Comparison,
        kept: tuple[str, ...],
        artifact: Artifact,
        results: list[GateResult],
    ) -> Rescue:
        before, after = self._speeds(artifact)
        worst = comparison.costliest()[0]
        report = {
            "reason": None,
            "cause": f"most is lost at {title(worst)}: {cause(comparison, worst)}",
            "kept_fp32": list(kept),
            "layers": len(frame.layers),
            "tries": self._tries,
            "mb_before": self._artifact.bytes / 1e6,
            "mb_after": artifact.bytes / 1e6,
            "ms_before": before,
            "ms_after": after,
        }
        return Rescue(replace(artifact, details={**artifact.details, "kept_fp32": list(kept)}), results, report)

    def _speeds(self, artifact: Artifact) -> tuple[float, float]:
        """Median milliseconds per image of the failed and of the saved export, in turns."""
        from export.speed.figures import speed
        from export.speed.turns import InProcess, take_turns

        both = {"before": self._artifact, "after": artifact}
        contestants = {
            name: InProcess(self._kind.session(item, 1), self._reference.pixels, 1) for name, item in both.items()
        }
        turns = take_turns(contestants, seconds=0.0)
        return speed(turns["before"]).ms_per_image, speed(turns["after"]).ms_per_image

    def _given_up(self, reason: str) -> Rescue:
        return Rescue(None, [], {"reason": reason, "kept_fp32": [], "tries": self._tries})


@dataclass(frozen=True)
class Offender:
    """A layer that adds noise, and the nodes that must stay in fp32 together to keep it away."""

    layer: LayerDifference
    nodes: tuple[str, ...]


def offenders(frame: Frame, comparison: Comparison, nameable: frozenset[str], *, half: bool) -> list[Offender]:
    """The layers that add noise, worst first; with ``half`` (fp16) those that overflow lead, in order of running.
    ``nameable``: the nodes that can be kept in fp32.

    A layer's damage has three places. Its own output may be rounded badly, which staying in fp32 cures only together
    with whoever reads it; its input may be, invisibly in the input's own figures when a few channels take the range,
    which takes the layers that make it; or its weights, which it alone decides.
    """
    beyond = [item for item in comparison.layers if half and item.largest > LARGEST_HALF]
    others = [item for item in comparison.costliest() if item not in beyond]
    groups = [(item, _group(frame, item)) for item in (*beyond, *others)]
    return [Offender(item, tuple(name for name in nodes if name in nameable)) for item, nodes in groups]


def _group(frame: Frame, row: LayerDifference) -> tuple[str, ...]:
    layer = frame.by_tensor[row.tensor]
    own = [layer, *(frame.producers(layer) if layer.passing else ())]
    overflow = row.largest > LARGEST_HALF
    rounded = row.rounding_sqnr_db is not None and row.rounding_sqnr_db < row.sqnr_db + 3.0  # half of its noise or more
    if overflow or rounded:
        return _names([*own, *frame.consumers(layer)])
    return _names([*own, *(item for each in own if not each.passing for item in frame.producers(each))])


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.name for layer in sorted(layers, key=lambda item: item.index)))


def _steps(groups: Sequence[Offender], limit: int) -> list[tuple[str, ...]]:
    """Growing sets of nodes: the first group, the first two, ... as long as they are not more than ``limit``."""
    steps: list[tuple[str, ...]] = []
    nodes: tuple[str, ...] = ()
    for group in groups:
        grown = tuple(dict.fromkeys((*nodes, *group.nodes)))
        if len(grown) > limit:
            break
        if grown != nodes:
            steps.append(grown)
        nodes = grown
    return steps


def _first(groups: Sequence[Offender], steps: int) -> int:
    """Where to begin: with every layer that breaks outright, else with those that add most of the noise."""
    noise = [group.layer.added_noise for group in groups]
    broken = sum(1 for value in noise if math.isinf(value))
    if broken:
        return min(broken, steps) - 1
    total, sofar = sum(noise), 0.0
    for index, value in enumerate(noise):
        sofar += value
        if sofar >= _FIRST * total:
            return min(index, steps - 1)
    return steps - 1
