"""The specification's labels beside the training's: length, names and order."""

from __future__ import annotations

from collections.abc import Sequence


def difference(declared: Sequence[str], trained: Sequence[str], *, numbered: bool = False) -> str | None:
    """What is wrong with ``declared``, None where it is the training's list.

    ``numbered``: the specification only counts its labels, so that their names say nothing."""
    if len(declared) != len(trained):
        return f"the specification has {len(declared)} labels, the training {len(trained)}" + _lacking(
            declared, trained
        )
    if numbered or tuple(declared) == tuple(trained):
        return None
    wrong = [index for index, pair in enumerate(zip(declared, trained, strict=True)) if pair[0] != pair[1]]
    first = wrong[0]
    where = (
        f"{len(wrong)} of {len(declared)} labels differ from the training's, the first at index {first}: "
        f"{declared[first]!r}, not {trained[first]!r}"
    )
    if sorted(declared) != sorted(trained):
        return where
    shift = _shift(declared, trained)
    return f"labels are shifted by {shift:+d}: {where}" if shift else f"labels are in another order: {where}"


def _lacking(declared: Sequence[str], trained: Sequence[str]) -> str:
    lacking = [label for label in trained if label not in set(declared)]
    foreign = [label for label in declared if label not in set(trained)]
    parts = []
    if lacking:
        parts.append(f"it lacks {', '.join(map(repr, lacking[:3]))}")
    if foreign:
        parts.append(f"the training has no {', '.join(map(repr, foreign[:3]))}")
    return f" ({'; '.join(parts)})" if parts and len(lacking) < len(trained) else ""


def _shift(declared: Sequence[str], trained: Sequence[str]) -> int:
    """By how many places ``declared`` is turned against ``trained``; 0 where it is not merely turned."""
    places = list(declared).index(trained[0])
    if tuple(declared[places:]) + tuple(declared[:places]) != tuple(trained):
        return 0
    return places if places <= len(declared) // 2 else places - len(declared)
