"""A builder's call in one line, for people and for the digest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def call(builder: str, arguments: Mapping[str, Any]) -> str:
    """For example ``timm resnet10t(num_classes=10)``; arguments in alphabetical order."""
    return f"{builder}({', '.join(f'{key}={arguments[key]!r}' for key in sorted(arguments))})"


def examples(word: str, known: Iterable[str], otherwise: Iterable[str]) -> str:
    """Up to three of ``known`` that look like ``word``, else ``otherwise``."""
    return ", ".join(difflib.get_close_matches(word, list(known), n=3) or otherwise)
