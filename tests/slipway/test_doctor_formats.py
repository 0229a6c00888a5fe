"""`slipway doctor` lists every format and engine; one that is absent is nothing to mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from slipway import doctor
from slipway.spec import FormatName

ENGINES = {"embedded Triton", "Envoy", "TensorRT", "Triton container", "TorchServe"}


@pytest.fixture(scope="module")
def listed(slipway: Callable[..., Any]) -> dict[str, dict[str, dict[str, str]]]:
    run = slipway("doctor", "--json")
    found = json.loads(run.stdout)
    failed = any(check["state"] == doctor.FAIL for check in found["checks"])
    assert run.returncode == (6 if failed else 0)
    return {title: {row["name"]: row for row in rows} for title, rows in found.items()}


def test_every_format_is_listed_with_what_it_is(listed: dict[str, dict[str, dict[str, str]]]) -> None:
    formats = listed["formats"]
    assert set(formats) <= set(get_args(FormatName))
    assert {"torchscript", "torch-export", "onnx", "tensorrt", "tensorrt-fp16", "tensorrt-int8"} <= set(formats)
    assert all(row["found"] for row in formats.values())
    assert formats["onnx"]["state"] == doctor.OK
    assert all(row["fix"] for row in formats.values() if row["state"] == doctor.ABSENT)


def test_what_plans_lack_here_is_said_exactly(listed: dict[str, dict[str, dict[str, str]]]) -> None:
    row = listed["formats"]["tensorrt-int8"]
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA device, so less is missing")
    assert row["state"] == doctor.ABSENT
    assert "libcuda.so.1" in row["fix"]
    assert "no TensorRT builder" in row["fix"]
    assert "--plan-bundle" in row["fix"]


def test_engines_are_found_or_described_as_they_are(listed: dict[str, dict[str, dict[str, str]]]) -> None:
    engines = listed["engines"]
    assert set(engines) == ENGINES
    assert {row["state"] for row in engines.values()} <= {doctor.OK, doctor.ABSENT}
    assert engines["TorchServe"]["state"] == doctor.ABSENT
    assert "not looked for" in engines["Triton container"]["found"]
    assert engines["Envoy"]["state"] == doctor.OK
    assert "CPU only" in engines["embedded Triton"]["found"]


def test_the_table_names_them_too(slipway: Callable[..., Any]) -> None:
    text = slipway("doctor").stdout
    assert [title in text for title in ("Doctor", "Formats", "Engines")] == [True] * 3
    assert "tensorrt-bf16" in text
