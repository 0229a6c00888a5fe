"""evidence.html: one file that needs no other, for the version that was published and for the one that was refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.report import charts
from export.report.reading import TASK_GATES, flat, format_names, measured, number, part, rows, text

#: Pairs of answers that are listed at most.
_MOST_PAIRS = 40
#: Parts of evidence.json with a place of their own; others that are mappings become sections under their names.
_SHOWN = {"source", "images", "thresholds", "calibration", "golden", "environment"}
_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


def render(evidence: Mapping[str, Any], golden_image: bytes | None = None) -> str:
    """The page's HTML. ``evidence``: content of evidence.json, of any age; what is missing in it is left out.

    ``golden_image``: encoded bytes of the golden image, shown where given. The same arguments give the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    pictures = [(item.title, item.words, Markup(item.svg)) for item in _pictures(evidence)]  # noqa: S704 - ours
    return environment.get_template("evidence.html.j2").render(
        model=text(evidence.get("model")) or "model",
        passed=bool(evidence.get("passed")),
        created=text(evidence.get("created")),
        verdict=_verdict(evidence),
        facts=_facts(evidence),
        failures=[item for item in rows(evidence, "gates") if not item.get("passed")],
        gates=list(_gates(evidence)),
        pictures=pictures,
        disagreements=_disagreements(evidence),
        artifacts=[_artifact(item) for item in rows(evidence, "formats")],
        sections=[(title, found) for title, found in _sections(evidence) if found],
        golden=_golden(evidence, golden_image),
        raw=json.dumps(evidence, indent=2, ensure_ascii=False),
    )


@dataclass(frozen=True)
class _Picture:
    title: str
    words: str
    svg: str


def _pictures(evidence: Mapping[str, Any]) -> Iterator[_Picture]:
    drawn = (
        ("Difference from the trained model", charts.difference_by_batch, "On real images, by batch size, which must "
         "not matter. fp32: the largest difference of any output over the scale of the outputs; fewer bits: noise over "
         "signal, root mean square."),
        ("Signal to noise", charts.signal_to_noise, "What reduced precision leaves of the outputs."),
        ("The task", charts.loss_of_the_task, "Points lost on labelled images: found (dot), the upper confidence "
         "limit (end of the line), and what may be lost. An export passes when its line ends before the margin."),
        ("Same answers", charts.agreement, "How often the export's answer is the trained model's."),
        ("Time", charts.time_per_image, "Measured in turns on the machine below, one image after the other."),
        ("Size", charts.sizes, "All files that a server needs for the format."),
    )  # fmt: skip
    for title, chart, words in drawn:
        if (found := chart(evidence)) is not None:
            yield _Picture(title, words, found)


def _verdict(evidence: Mapping[str, Any]) -> str:
    results = rows(evidence, "gates")
    failed = sum(not item.get("passed") for item in results)
    if failed:
        return f"Refused: {failed} of {len(results)} gates failed, and nothing was published."
    return f"All {len(results)} gates passed." if results else "No gates are recorded."


def _facts(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    images = part(evidence, "images")
    labelled = "labelled" if images.get("labelled") else "unlabelled"
    classes = f" of {images['classes']} classes" if images.get("classes") else ""
    facts = (
        ("Source", text(part(evidence, "source").get("description"))),
        ("Contract", text(evidence.get("contract_hash"))),
        ("Held-out images", f"{images['count']} {labelled}{classes}" if "count" in images else ""),
        ("Formats", text([item.get("format") for item in rows(evidence, "formats")])),
        ("Made", text(evidence.get("created"))),
    )
    return [(name, value) for name, value in facts if value]


def _gates(evidence: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """(format, its results), in order."""
    for name in format_names(evidence):
        found = [item for item in rows(evidence, "gates") if item.get("format") == name]
        if found:
            yield name, found


@dataclass(frozen=True)
class _Pair:
    """Images that two models answer differently. ``right``: who was right, where labels are known."""

    format: str
    trained: str
    exported: str
    right: str
    images: Sequence[str]


def _disagreements(evidence: Mapping[str, Any]) -> list[_Pair]:
    """From ``disagreements`` of the task's gate: ``image``, ``label`` (or None), ``trained``, ``exported``."""
    pairs: dict[tuple[str, str, str, str], list[str]] = {}
    for name, values, _ in measured(evidence, *TASK_GATES):
        found = values.get("disagreements")
        for item in found if isinstance(found, list) else []:
            key = (name, text(item.get("trained")), text(item.get("exported")), _right(item))
            pairs.setdefault(key, []).append(text(item.get("image")))
    ordered = sorted(pairs.items(), key=lambda pair: (pair[0][0], -len(pair[1])))
    return [_Pair(*key, images) for key, images in ordered[:_MOST_PAIRS]]


def _right(item: Mapping[str, Any]) -> str:
    label = item.get("label")
    if label is None:
        return ""
    return next((who for who in ("trained", "exported") if item.get(who) == label), "neither")


@dataclass(frozen=True)
class _Artifact:
    format: str
    file: str
    megabytes: str
    seconds: str
    sha256: str
    details: str


def _artifact(item: Mapping[str, Any]) -> _Artifact:
    size, seconds = number(item.get("bytes")), number(item.get("seconds"))
    return _Artifact(
        text(item.get("format")),
        ", ".join([text(item.get("file")), *part(item, "companions")]),
        "" if size is None else f"{size / 1e6:.2f}",
        "" if seconds is None else f"{seconds:.1f}",
        text(item.get("sha256"))[:16],
        text(item.get("details")),
    )


def _sections(evidence: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    source = dict(part(evidence, "source"))
    tools = source.pop("tools", {})
    for key, value in evidence.items():
        if key not in _SHOWN and isinstance(value, Mapping):
            yield key.replace("_", " ").capitalize(), list(flat(value))
    yield "Thresholds", list(flat(part(evidence, "thresholds")))
    yield "Calibration of INT8", list(flat(part(evidence, "calibration")))
    yield "Source", list(flat(source))
    yield "Held-out images", list(flat(part(evidence, "images")))
    yield "Tools", list(flat(tools if isinstance(tools, Mapping) else {}))
    yield "Machine", list(flat(part(evidence, "environment")))


@dataclass(frozen=True)
class _Golden:
    uri: str
    facts: list[tuple[str, str]]


def _golden(evidence: Mapping[str, Any], image: bytes | None) -> _Golden | None:
    facts = list(flat(part(evidence, "golden")))
    if not facts and image is None:
        return None
    kind = next((kind for start, kind in _SIGNATURES if image is not None and image.startswith(start)), None)
    uri = f"data:{kind};base64,{base64.b64encode(image).decode()}" if kind is not None and image is not None else ""
    return _Golden(uri, facts)
