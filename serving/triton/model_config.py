"""config.pbtxt as the embedded Triton is given it: read, and overridden at load time, never edited on disk.

The repository's file is the standard one for every Triton. What depends on this machine and this moment, which
versions are loaded and how many instances run, goes into the load call as an override.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from slipway.errors import RepositoryDamaged

GENERATION = "slipway_generation"


def read_config(path: Path) -> Any:
    """The ``inference.ModelConfig`` message of a config.pbtxt; raises RepositoryDamaged with file, line and column."""
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as problem:
        raise RepositoryDamaged(
            f"{path}: {problem}", fix="publish the model again; config.pbtxt is generated"
        ) from problem


def parameter(config: Any, name: str) -> str | None:
    """The string value of a config's parameter, or None."""
    return str(config.parameters[name].string_value) if name in config.parameters else None


def placement(config: Any) -> str:
    """Where the public model's network runs: ``fused`` or ``separate``; the environment's word goes before."""
    return os.environ.get("SLIPWAY_NETWORK_PLACEMENT") or parameter(config, "network_placement") or "fused"


def override(config: Any, versions: tuple[int, ...], generation: int, auto: int) -> str:
    """The JSON of the config to load: exactly ``versions``, ``instances: auto`` resolved to ``auto``, all on the CPU.

    The embedded server's runtimes are CPU builds, on a machine with a GPU too.

    ``generation`` differs at every load. Triton then builds every instance anew while the old ones serve, whatever
    else changed; without a change that matters it would update in place, which leaves dead instances dead (2.51).
    """
    changed = resolved(config, auto)
    changed.ClearField("version_policy")
    changed.version_policy.specific.versions.extend(versions)
    changed.parameters[GENERATION].string_value = str(generation)
    values: dict[str, Any] = json_format.MessageToDict(changed, preserving_proto_field_name=True)
    return json.dumps(values)


def resolved(config: Any, auto: int) -> Any:
    """A copy with the instance groups as they will run: on the CPU, ``instances: auto`` as ``auto``."""
    changed = model_config_pb2.ModelConfig()
    changed.CopyFrom(config)
    if parameter(config, "instances") == "auto" and changed.instance_group:
        changed.instance_group[0].count = auto
    for group in changed.instance_group:
        group.kind = model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_CPU")
    return changed


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the control group's quota where one is set (rounded up)."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, min(cores, quota)) if quota else max(1, cores)


def _quota(path: Path) -> int | None:
    """cgroup v2 cpu.max: ``<quota|max> <period>`` in microseconds."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None
