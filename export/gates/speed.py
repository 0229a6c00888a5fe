"""Gate 4, ``speed``: the export is faster or smaller than what it replaces. Judged only where the specification asks.

All formats of a run are measured together, in turns on this machine, with the reference among them. A limit of time
holds at its confidence limit, so an export that is too close to call fails and says what would decide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from export.formats.base import Artifact, root_cause
from export.gates.base import Candidate, GateResult, Reference
from export.speed.entrants import Entrant, eager, exported, published, torch_threads
from export.speed.figures import Limits, rounds_for, speed, speedup, time_limits
from export.speed.turns import InProcess, Turn, take_turns
from slipway.errors import SlipwayError

if TYPE_CHECKING:
    from slipway.repository import Repository
    from slipway.spec.gates_speed import SpeedGate

NAME = "speed"
#: What the candidates are held against, while it is measured among them; no format has this name.
_AGAINST = "*"
_NOTHING_PUBLISHED = "nothing is published yet"
_MEGABYTE = 1e6


def judge_speed(
    reference: Reference, candidates: Sequence[Candidate], repository: Repository | None = None
) -> list[GateResult]:
    """One result per candidate that has files; none where the specification has no ``gates.speed``.

    Formats that are not held to it are measured all the same and pass. ``repository``: where ``against: published``
    finds the stable version; a first version replaces nothing, so only its own time and size are limited. Meant for
    candidates that passed the other gates. Takes ``gates.speed.seconds``, and the opening.
    """
    rules = reference.gates.speed
    artifacts = {candidate.format: candidate.artifact for candidate in candidates if candidate.artifact is not None}
    if rules is None or not artifacts:
        return []
    with torch_threads(rules.threads):
        entrants = {name: _opened(reference, artifact, rules.threads) for name, artifact in artifacts.items()}
        entrants = {_AGAINST: _against(reference, artifacts, repository, rules), **entrants}
        measured = _measure(entrants, rules)
    return [_result(name, reference, rules, measured[name], measured[_AGAINST]) for name in artifacts]


@dataclass(frozen=True)
class _Measured:
    """``bytes``: of the files. The turns of all entrants are of the same rounds."""

    bytes: int
    turns: Sequence[Turn]

    @property
    def megabytes(self) -> float:
        return self.bytes / _MEGABYTE

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(speed(self.turns)), "megabytes": self.megabytes}


def _opened(reference: Reference, artifact: Artifact, threads: int) -> Entrant | str:
    """The entrant, or why there is none; as the next."""
    try:
        return exported(reference, artifact, threads)
    except SlipwayError as problem:
        return f"it cannot be opened: {problem}"


def _against(
    reference: Reference, artifacts: Mapping[str, Artifact], repository: Repository | None, rules: SpeedGate
) -> Entrant | str:
    if rules.against == "eager":
        return eager(reference)
    if rules.against == "published":
        try:
            stable = published(reference, repository, rules.threads) if repository is not None else None
        except SlipwayError as problem:
            return f"the published version cannot be measured: {problem}"
        return stable or _NOTHING_PUBLISHED
    if rules.against not in artifacts:
        return f"{rules.against} is not among the formats of this run that passed their gates"
    return _opened(reference, artifacts[rules.against], rules.threads)


def _measure(entrants: Mapping[str, Entrant | str], rules: SpeedGate) -> dict[str, _Measured | str]:
    """The turns of everyone that runs, or why there are none."""
    found: dict[str, _Measured | str] = {}
    contestants: dict[str, InProcess] = {}
    sizes: dict[str, int] = {}
    for name, entrant in entrants.items():
        if isinstance(entrant, str):
            found[name] = entrant
            continue
        contestant = InProcess(entrant.run, entrant.pixels, rules.batch)
        try:
            contestant.turn(0.0)
        except Exception as problem:  # each runtime has its own; the text is the finding
            found[name] = f"a batch of {rules.batch} does not run: {root_cause(problem)}"
        else:
            contestants[name], sizes[name] = contestant, entrant.bytes
    turns = take_turns(contestants, rules.seconds, rounds_for(rules.confidence))
    return found | {name: _Measured(sizes[name], taken) for name, taken in turns.items()}


def _result(
    name: str, reference: Reference, rules: SpeedGate, own: _Measured | str, base: _Measured | str
) -> GateResult:
    held = name in (rules.formats or (reference.contract.network.format,))
    threshold = rules.model_dump(mode="json", exclude_none=True)
    allowed = _allowed(rules) if held else "measured only"
    if isinstance(own, str):
        return GateResult(NAME, name, False, {"held": held}, threshold, own, "not measured", allowed)
    times = time_limits(own.turns, rules.confidence)
    ratio = None if isinstance(base, str) else speedup(base.turns, own.turns, rules.confidence)
    measured: dict[str, Any] = {"held": held, **own.to_dict(), "ms_per_image_upper": times.high}
    if isinstance(base, str):
        measured["against"] = {"name": rules.against, "missing": base}
    else:
        measured["against"] = {"name": rules.against, **base.to_dict()}
        measured["size_ratio"] = own.bytes / base.bytes
    if ratio is not None:
        measured |= {"speedup": ratio.median, "speedup_lower": ratio.low, "speedup_upper": ratio.high}
    reasons = _reasons(rules, own, base, times, ratio) if held else []
    found = _found(own, ratio, rules)
    return GateResult(NAME, name, not reasons, measured, threshold, "; ".join(reasons) or None, found, allowed)


def _reasons(rules: SpeedGate, own: _Measured, base: _Measured | str, times: Limits, ratio: Limits | None) -> list[str]:
    """What does not hold, in words."""
    reasons = []
    if isinstance(base, str):
        if base != _NOTHING_PUBLISHED and (rules.min_speedup or rules.max_size_ratio):
            reasons.append(base)
    elif rules.max_size_ratio is not None and own.bytes > rules.max_size_ratio * base.bytes:
        share = own.bytes / base.bytes
        reasons.append(f"its files are {share:.2f} of those of {rules.against} (allowed {rules.max_size_ratio:g})")
    if rules.max_megabytes is not None and own.megabytes > rules.max_megabytes:
        reasons.append(f"its files have {own.megabytes:.2f} MB (allowed {rules.max_megabytes:g})")
    if rules.max_milliseconds is not None and not times.high <= rules.max_milliseconds:
        reasons.append(
            f"{times.median:.2f} ms per image, {rules.confidence:.0%} sure of {times.high:.2f} "
            f"(allowed {rules.max_milliseconds:g}){_undecided(times.median <= rules.max_milliseconds, rules)}"
        )
    if rules.min_speedup is not None and ratio is not None and not ratio.low >= rules.min_speedup:
        reasons.append(
            f"{ratio.median:.2f} times as fast as {rules.against}, {rules.confidence:.0%} sure of {ratio.low:.2f} "
            f"(asked for {rules.min_speedup:g}){_undecided(ratio.median >= rules.min_speedup, rules)}"
        )
    return reasons


def _undecided(median_holds: bool, rules: SpeedGate) -> str:
    """Where the median would do and its limit does not, more rounds may decide it."""
    return f"; raise gates.speed.seconds ({rules.seconds:g}) to decide it" if median_holds else ""


def _found(own: _Measured, ratio: Limits | None, rules: SpeedGate) -> str:
    own_speed = speed(own.turns)
    text = f"{own_speed.ms_per_image:.2f} ms ({own_speed.p10:.2f} to {own_speed.p90:.2f}), {own.megabytes:.2f} MB"
    return text if ratio is None else f"{text}, {ratio.median:.2f} times {rules.against} (at least {ratio.low:.2f})"


def _allowed(rules: SpeedGate) -> str:
    limits = (
        (rules.min_speedup, f">= {rules.min_speedup} times {rules.against}"),
        (rules.max_milliseconds, f"<= {rules.max_milliseconds} ms"),
        (rules.max_megabytes, f"<= {rules.max_megabytes} MB"),
        (rules.max_size_ratio, f"<= {rules.max_size_ratio} of the size of {rules.against}"),
    )
    return ", ".join(text for limit, text in limits if limit is not None)
