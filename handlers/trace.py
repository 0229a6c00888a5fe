"""Notes what networks are really asked, as hashes in files, so that servers can be compared bit by bit. Off by default.

``SLIPWAY_TRACE_INPUTS=<folder>``, set for the server's process, makes every pipeline append one JSON line per image of
every call to ``<folder>/<pid>.jsonl``: ``{"network", "shape", "sha256"}`` over the uint8 bytes in the order of memory.
A row is written before its network is called, so a request's rows are there when its answer is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handlers.calls import Call, Networks, Output

TRACE_VARIABLE = "SLIPWAY_TRACE_INPUTS"


class TracedNetworks:
    """Networks that note every image that they are asked about."""

    def __init__(self, networks: Networks, folder: Path) -> None:
        self._networks = networks
        self._path = folder / f"{os.getpid()}.jsonl"

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """As handlers.calls.Networks.run."""
        lines = [json.dumps(line) for call in calls for line in lines_of(call)]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return self._networks.run(calls)


def lines_of(call: Call) -> list[dict[str, object]]:
    """One entry per image: how images are grouped into calls depends on who else asks, their pixels do not."""
    return [
        {
            "network": call.network,
            "shape": list(image.shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(),
        }
        for image in call.pixels
    ]


def traced(networks: Networks) -> Networks:
    """The networks as they are, unless the variable names a folder."""
    folder = os.environ.get(TRACE_VARIABLE)
    return TracedNetworks(networks, Path(folder)) if folder else networks
