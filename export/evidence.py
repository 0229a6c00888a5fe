"""evidence.json of a version: every number that decided its publication, and what produced it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from export.formats.base import Artifact
from export.gates.base import GateResult, Reference, finite
from export.golden import Golden
from slipway.files import sha256_file

SCHEMA = 1


def build_evidence(
    reference: Reference,
    artifacts: Sequence[Artifact],
    results: Sequence[GateResult],
    golden: Golden | None,
    identity: dict[str, Any],
    description: str,
) -> dict[str, Any]:
    """JSON-ready content of evidence.json. Sizes in bytes, times in seconds, created in UTC (ISO 8601)."""
    labels = [image.label for image in reference.held_out.images]
    values = {
        "schema": SCHEMA,
        "model": reference.contract.model,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "passed": all(result.passed for result in results),
        "source": {"description": description, **identity},
        "contract_hash": reference.contract.hash,
        "images": {
            "count": len(labels),
            "labelled": reference.held_out.labelled,
            "classes": len({label for label in labels if label is not None}),
            "sha256": reference.held_out.digest,
        },
        "thresholds": reference.gates.model_dump(mode="json"),
        "formats": [_artifact(artifact) for artifact in artifacts],
        "gates": [result.to_dict() for result in results],
        "golden": golden.to_dict() if golden else None,
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
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def to_json(evidence: dict[str, Any]) -> str:
    """The text of evidence.json; refuses NaN, which is not JSON."""
    return json.dumps(evidence, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def summary(evidence: dict[str, Any]) -> dict[str, Any]:
    """The numbers that the manifest repeats: ``formats`` -> format -> gate -> its single numbers."""
    formats: dict[str, dict[str, Any]] = {}
    for row in evidence["gates"]:
        numbers = {key: value for key, value in row["measured"].items() if isinstance(value, (int, float))}
        formats.setdefault(row["format"], {})[row["name"]] = numbers
    return {"passed": evidence["passed"], "images": evidence["images"]["count"], "formats": formats}


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
