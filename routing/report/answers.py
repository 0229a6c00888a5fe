"""Two answers to one image side by side, each as its task is read: labels, boxes, texts, areas, vectors.

Summaries come from files; one of another form is shown as it is, never an error.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from routing.report.data import Answer, Disagreement
from routing.report.pictures import Budget, Shown, label_map, opened, with_boxes
from routing.report.words import UNKNOWN, clean, moment, number, percent, plain

#: Characters of a text that are compared; the time grows with their square.
_LONGEST_TEXT = 600
_MOST_ROWS = 8
#: What a summary that is not of its task's form may raise.
_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
Summary = Mapping[str, Any]
Opened = tuple[Image.Image, float] | None


@dataclass(frozen=True)
class Line:
    """``name`` with its ``value``; ``differs`` from the other answer's."""

    name: str
    value: str = ""
    differs: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of a text; ``differs``: the other text does not have it."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Side:
    """One version's answer. ``failed``: with which code."""

    version: int
    failed: str = ""
    lines: tuple[Line, ...] = ()
    pieces: tuple[Piece, ...] = ()
    picture: Shown | None = None
    picture_words: str = ""


@dataclass(frozen=True)
class Pair:
    """One disagreement. ``picture``: of the input, where it is kept and the sides do not show it themselves."""

    request_id: str
    index: int
    when: str
    task: str
    distance: str
    sides: tuple[Side, Side]
    picture: Shown | None = None
    note: str = ""


def pair(item: Disagreement, budget: Budget) -> Pair:
    """``item`` as the page shows it. ``budget``: of all pictures."""
    picture = opened(item.image)
    left = _side(item.task, item.left, item.right, picture, budget)
    right = _side(item.task, item.right, item.left, picture, budget)
    own = picture if left.picture is None or item.task == "segmentation" else None
    shown = budget.shown(own[0]) if own else None
    seen = shown is not None or (picture is not None and left.picture is not None)
    note = "" if seen else _why_no_picture(item, picture)
    return Pair(
        item.request_id,
        item.index,
        moment(item.time),
        item.task,
        plain(item.distance),
        (left, right),
        shown,
        note,
    )


def _why_no_picture(item: Disagreement, picture: Opened) -> str:
    if not item.image:
        boxes = item.task in ("detection", "faces")
        return "The image was not kept; boxes are drawn on grey." if boxes else "The image was not kept."
    return "The image cannot be shown." if picture is None else "The image is left out to keep this file small."


def _side(task: str, answer: Answer, other: Answer, picture: Opened, budget: Budget) -> Side:
    if answer.summary is None:
        return Side(answer.version, failed=answer.code or "no answer")
    against: Summary = other.summary if isinstance(other.summary, Mapping) else {}
    try:
        draw: _Draw = _DRAWN.get(task, _unknown)
        return draw(answer, answer.summary, against, picture, budget)
    except _MALFORMED:
        return _unknown(answer, answer.summary, against, picture, budget)


def _labels(answer: Answer, own: Summary, other: Summary, _: Opened, __: Budget) -> Side:
    """Classification and multi-label."""
    if "labels" in own:
        theirs = {str(name) for name, *_ in other.get("labels", ())}
        rows = [Line(str(name), percent(score), str(name) not in theirs) for name, score in own["labels"][:_MOST_ROWS]]
        return Side(answer.version, lines=tuple(rows) or (Line("no label"),))
    best = str(own["label"])
    top = own.get("top") or [[best, own.get("score")]]
    differs = best != str(other.get("label", ""))
    rows = [Line(str(name), percent(score), differs and str(name) == best) for name, score in top[:_MOST_ROWS]]
    return Side(answer.version, lines=tuple(rows))


def _boxes(answer: Answer, own: Summary, other: Summary, picture: Opened, budget: Budget) -> Side:
    """Detection and faces."""
    boxes = own["boxes"]
    count, theirs = own.get("count", len(boxes)), other.get("count", len(other.get("boxes", ())))
    rows = [Line("found", str(count), count != theirs)]
    mine, others = (Counter(map(str, summary.get("labels", ()))) for summary in (own, other))
    rows += [Line(name, str(found), found != others[name]) for name, found in mine.most_common(_MOST_ROWS)]
    rows += [Line(name, "0", True) for name in list(others)[:_MOST_ROWS] if name not in mine]
    drawn = with_boxes(picture, own, other)
    shown = budget.shown(drawn) if drawn is not None else None
    words = f"what version {answer.version} found: {count} box{'' if count == 1 else 'es'}"
    return Side(answer.version, lines=tuple(rows), picture=shown, picture_words=words)


def _text(answer: Answer, own: Summary, other: Summary, _: Opened, __: Budget) -> Side:
    """OCR."""
    mine, theirs = str(own["text"])[:_LONGEST_TEXT], str(other.get("text", ""))[:_LONGEST_TEXT]
    found = tuple(_differing(mine, theirs))
    rest = len(str(own["text"])) - len(mine)
    lines = (Line("more characters", str(rest)),) if rest else () if mine else (Line("no text"),)
    return Side(answer.version, lines=lines, pieces=found)


def _differing(mine: str, theirs: str) -> Iterator[Piece]:
    for kind, start, stop, _, _ in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if start < stop:
            yield Piece(mine[start:stop], kind != "equal")


def _vector(answer: Answer, own: Summary, other: Summary, _: Opened, __: Budget) -> Side:
    """Embedding."""
    mine = _floats(own["vector"])
    rows = [Line("numbers", str(mine.size)), Line("length", plain(float(np.linalg.norm(mine))))]
    if "vector" in other:
        theirs = _floats(other["vector"])
        same = mine.size == theirs.size
        rows.append(Line("cosine to the other", plain(_cosine(mine, theirs)) if same else UNKNOWN, True))
    return Side(answer.version, lines=tuple(rows))


def _floats(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float64)


def _cosine(mine: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float | None:
    lengths = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return number(float(mine @ theirs) / lengths) if lengths > 0 else None


def _areas(answer: Answer, own: Summary, other: Summary, _: Opened, budget: Budget) -> Side:
    """Segmentation."""
    theirs = other.get("areas", {})
    ordered = sorted(own["areas"].items(), key=lambda entry: -float(entry[1]))[:_MOST_ROWS]
    rows = [
        Line(str(name), percent(share), abs(float(share) - float(theirs.get(name, 0))) > 0.01)
        for name, share in ordered
    ]
    shown = budget.shown(label_map(own["grid"])) if own.get("grid") else None
    return Side(answer.version, lines=tuple(rows), picture=shown, picture_words=f"areas of version {answer.version}")


def _unknown(answer: Answer, own: Any, other: Summary, _: Opened, __: Budget) -> Side:
    """Of another task, or not of its task's form."""
    text = clean(json.dumps(own, ensure_ascii=False, default=str), 300)
    return Side(answer.version, lines=(Line("answer", text, own != other),))


_Draw = Callable[[Answer, Summary, Summary, Opened, Budget], Side]
_DRAWN: dict[str, _Draw] = {
    "classification": _labels,
    "detection": _boxes,
    "faces": _boxes,
    "ocr": _text,
    "embedding": _vector,
    "segmentation": _areas,
}


def pairs(items: Sequence[Disagreement], most: int, bytes_of_pictures: int) -> list[Pair]:
    """The first ``most`` of ``items``, their pictures within ``bytes_of_pictures`` of text."""
    budget = Budget(bytes_of_pictures)
    return [pair(item, budget) for item in items[:most]]
