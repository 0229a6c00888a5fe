"""What all rooms' tests share: the command line as a real process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def slipway() -> Command:
    """Runs `slipway ARGS...` as a user would; `env` adds variables, `cwd` is the project unless named."""

    def run(*arguments: object, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 120):
        return subprocess.run(
            [Path(sys.executable).parent / "slipway", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run tests that take over a minute")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(pytest.mark.skip(reason="SLOW: over a minute; run with --run-slow"))
        if "gpu" in item.keywords and not Path("/dev/nvidia0").exists():
            item.add_marker(pytest.mark.skip(reason="GPU: this machine has no NVIDIA device"))
