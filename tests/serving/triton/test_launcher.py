"""The command line that starts Triton, and the backend directory it is given."""

from pathlib import Path

import pytest

from serving.triton import launcher
from serving.triton.assemble import assemble_backends
from serving.triton.environment import TritonInstallation, find_triton
from serving.triton.launcher import TritonConfig

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def triton() -> TritonInstallation:
    return find_triton(ROOT / ".venv-triton")


def config(triton: TritonInstallation, tmp_path: Path) -> TritonConfig:
    return TritonConfig(triton, tmp_path / "repository", tmp_path / "backends", "slipway-test-", 1, 2, 3)


def test_triton_listens_on_loopback_with_closed_apis(triton: TritonInstallation, tmp_path: Path) -> None:
    chosen = config(triton, tmp_path)
    argv, _ = launcher.command(chosen)
    flags = dict(item.removeprefix("--").split("=", 1) for item in argv[1:] if "=" in item)
    assert {flags[f"{name}-address"] for name in ("http", "grpc", "metrics")} == {"127.0.0.1"}
    assert flags["model-control-mode"] == "explicit"
    for name in ("http-restricted-api", "grpc-restricted-protocol"):
        apis, key = flags[name].split(":", 1)
        assert set(apis.split(",")) == {"model-repository", "shared-memory", "logging", "trace"}
        assert key == f"x-slipway-admin={chosen.admin_key}"
    assert len(chosen.admin_key) == 48 and chosen.admin_key not in repr(chosen)
    assert config(triton, tmp_path).admin_key != chosen.admin_key


def test_the_environment_is_closed(triton: TritonInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/stray")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    _, environment = launcher.command(config(triton, tmp_path))
    assert not any("stray" in value or "secret" in value for value in environment.values())
    assert environment["PATH"].startswith(str(triton.environment / "bin"))
    assert environment["OMP_NUM_THREADS"] == "1"


def test_backends_are_real_copies_and_reused(triton: TritonInstallation, tmp_path: Path) -> None:
    first = assemble_backends(triton, tmp_path)
    for inside in (
        "python/libtriton_python.so",
        "python/triton_python_backend_stub",
        "python/handlers/triton.py",
        "python/slipway/contract.py",
        "python/serving/triton/backends/execution.py",
        "onnxruntime/model.py",
        "pytorch/model.py",
    ):
        assert (first / inside).is_file() and not (first / inside).is_symlink()
    marked = (first / "python" / "handlers" / "triton.py").stat().st_ino
    assert assemble_backends(triton, tmp_path) == first
    assert (first / "python" / "handlers" / "triton.py").stat().st_ino == marked
    (tmp_path / "backends-older").mkdir()
    assemble_backends(triton, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [first.name]
