"""Which version a unit sees, as the edge decides it: the twin of ``hashing.lua`` and ``experiments.lua`` at the edge.

Both sides are held to the same test vectors. Hash: FNV-1a (draft-eastlake-fnv), then MurmurHash3's 32-bit finaliser.
"""

from __future__ import annotations

from typing import NamedTuple

from slipway.experiment import BUCKETS, Experiment

_WORD = 0xFFFFFFFF
#: Bytes of a unit that count; the edge cuts there.
LONGEST_UNIT = 256


class Assignment(NamedTuple):
    """``why``: arm, stable, allow or layer. ``unit_hash``: 8 hex digits as in the access log, empty where no hash
    decided."""

    version: int
    why: str
    unit_hash: str = ""


def fnv1a(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & _WORD
    return value


def finalised(value: int) -> int:
    """MurmurHash3's 32-bit finaliser: every bit of ``value`` reaches the low ones, which make the bucket."""
    value = (value ^ value >> 16) * 0x85EBCA6B & _WORD
    value = (value ^ value >> 13) * 0xC2B2AE35 & _WORD
    return value ^ value >> 16


def hash32(data: bytes) -> int:
    """0 .. 2^32-1."""
    return finalised(fnv1a(data))


def _unit(text: str) -> bytes:
    """What counts of a unit: no blanks around it, which HTTP takes away and gRPC does not, and not more than is cut."""
    return text.encode().lstrip(b" \t")[:LONGEST_UNIT].rstrip(b" \t")


def unit_hash(experiment: Experiment, unit: str) -> int:
    """The hash of a unit under the experiment's salt; its bucket is that modulo BUCKETS."""
    return hash32(experiment.salt.encode() + b":" + _unit(unit))


def assign(experiment: Experiment, unit: str) -> Assignment:
    """The version that a request of ``unit`` without an override goes to, while every version is ready."""
    allowed = {name.encode(): version for name, version in experiment.allow.items()}.get(_unit(unit))
    if allowed is not None:
        return Assignment(allowed, "allow")
    layer = experiment.layer
    if layer is not None:
        bucket = hash32(f"layer:{layer.name}:".encode() + _unit(unit)) % BUCKETS
        if not layer.start <= bucket < layer.start + layer.width:
            return Assignment(experiment.stable, "layer")
    found = unit_hash(experiment, unit)
    for arm in experiment.arms:
        if arm.start <= found % BUCKETS < arm.start + arm.width:
            return Assignment(arm.version, "arm", f"{found:08x}")
    return Assignment(experiment.stable, "stable", f"{found:08x}")
