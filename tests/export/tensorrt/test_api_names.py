"""Every name that the builder and the engine use exists in the real bindings of each version that uses it.

There is no TensorRT without a GPU, so these files cannot run here; what they call is read from their source instead
and looked up in the names that the bindings of 8.6.1, 10.16.1 and 11.4.0 list (see collect_names).
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from export.tensorrt import runner
from export.tensorrt.runner.cuda import FUNCTIONS

NAMES = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
RUNNER = Path(runner.__file__).parent
ALL = ("8.6.1", "10.16.1.11", "11.4.0.106")
USERS = {
    "builder.py": ALL,
    "engines.py": ALL,
    "api8.py": ALL[:1],
    "api10.py": ALL[1:2],
    "api11.py": ALL[2:],
}
#: What a variable of each name holds; the files keep to them.
HOLDS = {
    "trt": "",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "context": "IExecutionContext",
}
CASES = [(file, version) for file, versions in USERS.items() for version in versions]


def used(file: str) -> set[tuple[str, str]]:
    """(class, name) of every attribute that is read or set on something of TensorRT."""
    found = set()
    for node in ast.walk(ast.parse((RUNNER / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in HOLDS:
            found.add((HOLDS[owner.id], node.attr))
        elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
            found.add((owner.attr, node.attr))
        elif isinstance(owner, ast.Name) and owner.id == "engine" and file == "engines.py":
            found.add(("ICudaEngine", node.attr))
        elif isinstance(owner, ast.Call) and getattr(owner.func, "attr", "") == "get_timing_cache":
            found.add(("ITimingCache", node.attr))
    return found


@pytest.mark.parametrize(("file", "version"), CASES)
def test_names_exist(file: str, version: str) -> None:
    names = NAMES["tensorrt"][version]
    missing = {f"{owner}.{name}" for owner, name in used(file) if name not in names.get(owner, ())}
    own = {"ICudaEngine.run", "ICudaEngine.time_ms"}  # methods of our own engines, in functions that take one
    assert not missing - own


def test_the_check_sees_what_is_called() -> None:
    seen = used("builder.py")
    assert {
        ("", "Builder"),
        ("Builder", "build_serialized_network"),
        ("OnnxParser", "parse_from_file"),
        ("IBuilderConfig", "hardware_compatibility_level"),
        ("BuilderFlag", "VERSION_COMPATIBLE"),
        ("IOptimizationProfile", "set_shape"),
        ("ITimingCache", "serialize"),
    } <= seen
    assert {("IExecutionContext", "execute_async_v3"), ("Runtime", "deserialize_cuda_engine")} <= used("engines.py")


@pytest.mark.parametrize(
    ("version", "owner", "name"),
    [
        ("11.4.0.106", "BuilderFlag", "FP16"),
        ("11.4.0.106", "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
        ("8.6.1", "NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("8.6.1", "BuilderFlag", "BF16"),
        ("8.6.1", "IBuilderConfig", "progress_monitor"),
    ],
)
def test_the_list_knows_what_a_version_lacks(version: str, owner: str, name: str) -> None:
    assert name not in NAMES["tensorrt"][version][owner]


def test_the_progress_monitor_overrides_what_there_is() -> None:
    from export.tensorrt.runner.build import monitor_class

    base = type("Base", (), {})
    ours = {name for name in vars(monitor_class(base)) if not name.startswith("_")}
    for version in ALL[1:]:
        assert ours == set(NAMES["tensorrt"][version]["IProgressMonitor"])


def test_functions_of_the_driver_exist() -> None:
    assert set(NAMES["cuda"]) == set(FUNCTIONS)
