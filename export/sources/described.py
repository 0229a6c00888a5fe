"""A builder's call: in one line, for people and for the digest, and made."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from slipway.errors import SourceInvalid


def call(builder: str, arguments: Mapping[str, Any]) -> str:
    """For example ``timm resnet10t(num_classes=10)``; arguments in alphabetical order."""
    return f"{builder}({', '.join(f'{key}={arguments[key]!r}' for key in sorted(arguments))})"


def examples(word: str, known: Iterable[str], otherwise: Iterable[str]) -> str:
    """Up to three of ``known`` that look like ``word``, else ``otherwise``."""
    return ", ".join(difflib.get_close_matches(word, list(known), n=3) or otherwise)


def built(description: str, build: Callable[[], object]) -> nn.Module:
    """What ``build`` makes; raises SourceInvalid when it fails or makes no module."""
    try:
        module = build()
    except Exception as problem:  # builders raise TypeError, ValueError or AssertionError for their arguments
        raise SourceInvalid(
            f"{description} cannot be built",
            observed=f"{type(problem).__name__}: {problem}",
            fix="correct source.arguments",
        ) from problem
    if not isinstance(module, nn.Module):
        raise SourceInvalid(f"{description} is no module", observed=type(module).__name__)
    return module
