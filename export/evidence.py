"""evidence.json of a version: every number that decided its publication, and what produced it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from export.formats.base import Artifact
from export.gates.base import CONTRACT, GateResult, Reference, finite
from export.golden import Golden
from export.whole import Whole
from slipway.files import sha256_file

SCHEMA = 1


def build_evidence(
    subject: Reference | Whole,
    artifacts: Sequence[Artifact],
    results: Sequence[GateResult],
    golden: Golden | None,
    identity: dict[str, Any],
    description: str,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """JSON-ready content of evidence.json. Sizes in bytes, times in seconds, created in UTC (ISO 8601).

    ``notes``: further sections by name, such as ``optimise``, ``rescues``, ``fusions`` and ``plans``."""
    held_out = subject.held_out
    labels = [image.label for image in held_out.images]
    values = {
        "schema": SCHEMA,
        "model": subject.contract.model,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "passed": all(result.passed for result in results),
        "source": {"description": description, **identity},
        "contract_hash": subject.contract.hash,
        "images": {
            "count": len(labels),
            "labelled": held_out.labelled or held_out.known,
            "classes": len({label for label in labels if label is not None}),
            "sha256": held_out.digest,
        },
        "thresholds": subject.gates.model_dump(mode="json"),
        "formats": [_artifact(artifact) for artifact in artifacts],
        "gates": [result.to_dict() for result in results],
        "golden": golden.to_dict() if golden else None,
        **{name: value for name, value in (notes or {}).items() if value},
        "environment": environment(),
    }
    checked: dict[str, Any] = finite(values)
    return checked


def environment() -> dict[str, Any]:
    """The machine and interpreter that the numbers come from."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _cpu() -> str:
    """The processor's name with what INT8 and bf16 depend on, where /proc tells; else what Python knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(fields.get("flags", "").split())
    known = [
        flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in flags
    ]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(known)})" if known else name


def to_json(evidence: dict[str, Any]) -> str:
    """The text of evidence.json; refuses NaN, which is not JSON."""
    return json.dumps(evidence, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def summary(evidence: dict[str, Any]) -> dict[str, Any]:
    """The numbers that the manifest repeats: ``formats`` -> format -> gate -> its single numbers, and the same of the
    gates that judge the contract, under ``contract``."""
    formats: dict[str, dict[str, Any]] = {}
    for row in evidence["gates"]:
        numbers = {key: value for key, value in row["measured"].items() if isinstance(value, (int, float))}
        formats.setdefault(row["format"], {})[row["name"]] = numbers
    contract = formats.pop(CONTRACT, {})
    return {
        "passed": evidence["passed"],
        "images": evidence["images"]["count"],
        "formats": formats,
        "contract": contract,
    }


def rows(evidence: dict[str, Any]) -> list[dict[str, str]]:
    """A table of the gates for people: ``format``, ``gate``, ``verdict``, ``found``, ``allowed``, ``reason``."""
    return [
        {
            "format": gate["format"],
            "gate": gate["name"],
            "verdict": "passed" if gate["passed"] else "FAILED",
            "found": gate["found"],
            "allowed": gate["allowed"],
            "reason": gate["reason"] or "",
        }
        for gate in evidence["gates"]
    ]


def _artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "format": artifact.format,
        "file": artifact.path.name,
        "bytes": artifact.bytes,
        "sha256": sha256_file(artifact.path),
        "companions": {path.name: sha256_file(path) for path in artifact.companions},
        "seconds": round(artifact.seconds, 3),
        "details": artifact.details,
    }
