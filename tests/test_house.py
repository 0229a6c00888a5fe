"""The rooms' directions of import: who may stand on whom. Type-checking imports count too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["handlers", "export", "serving", "routing", "gateway", "monitoring", "deploy", "benchmarks", "samples"]
#: What each room may import besides itself. `slipway.cli` composes all rooms, lazily.
MAY = {
    "slipway": set(),
    "handlers": {"slipway"},
    "export": {"slipway", "handlers"},
    "serving": {"slipway", "handlers"},
    "samples": {"slipway", "handlers", "export"},
    "routing": {"slipway", "handlers", "serving"},
    "gateway": {"slipway", "handlers", "serving", "routing"},
    "monitoring": {"slipway", "handlers", "serving"},
    "deploy": {"slipway", "handlers", "serving"},
    "benchmarks": {"slipway", "handlers", "serving", "routing", "samples"},
}
#: handlers run inside model servers: these modules of the ground floor, and no third-party ones but these.
GROUND_FOR_HANDLERS = {"slipway.contract", "slipway.errors"}
LIBRARIES_FOR_HANDLERS = {"numpy", "PIL"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", [room for room in MAY if (ROOT / room).is_dir()])
def test_direction(room: str) -> None:
    for path in files(room):
        if path.is_relative_to(ROOT / "slipway" / "cli"):
            continue
        rooms = {name.split(".")[0] for name in imports(path)} & {*ROOMS, "slipway"} - {room}
        assert rooms <= MAY[room], f"{path.relative_to(ROOT)} imports {rooms - MAY[room]}"


def test_the_command_line_imports_rooms_lazily() -> None:
    for path in files("slipway/cli"):
        eager = {name.split(".")[0] for name in imports(path, top_level_only=True)} & set(ROOMS)
        assert not eager, f"{path.relative_to(ROOT)} imports {eager} before a command runs"


def test_handlers_need_only_what_model_servers_have() -> None:
    import sys

    for path in files("handlers"):
        ground = {name for name in imports(path) if name.startswith("slipway.")}
        modules = {name for name in ground if name.count(".") == 1}
        assert modules <= GROUND_FOR_HANDLERS, f"{path.name} imports {modules - GROUND_FOR_HANDLERS}"
        third_party = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        third_party -= {"slipway", "handlers", "__future__", *sys.stdlib_module_names, *LIBRARIES_FOR_HANDLERS}
        if path.name not in ("triton.py", "bls.py"):
            assert not third_party, f"{path.name} imports {third_party}"


def test_no_file_is_a_god() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for room in ["slipway", *ROOMS]
        for path in files(room)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for room in ["slipway", *ROOMS]
        for path in files(room)
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent
