"""Assembles the Lua programs of the edge from the files in ``serving/edge/lua``."""

from __future__ import annotations

from pathlib import Path

LUA_DIR = Path(__file__).parent / "lua"

#: Each file declares one local table, adds to one, or holds the Envoy entry points; it may use those before it.
COMMON = ("errors", "json", "protobuf", "frames", "bodies", "hashing", "routing", "experiments", "versions", "faults")
COMMON_ANSWERS = ("answers",)
TRIES = ("errors", "protobuf", "frames")
ENTRIES = ("request", "response")
DISCARD = ("discard",)
#: With other servers: after the common files of a request's way in; and in front of each server.
FLEET = ("fleet",)
FORWARD = ("forward",)


def program(names: tuple[str, ...]) -> str:
    """One Lua program: the named files in that order."""
    return "\n".join((LUA_DIR / f"{name}.lua").read_text(encoding="utf-8") for name in names)
