"""A publisher killed with SIGKILL at any step leaves a repository that verifies; the next publish works."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway.repository import Repository
from tests.slipway.publishing import publication

ROOT = Path(__file__).resolve().parents[2]


def start(repository: Path, kill_at: int = -1) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.slipway.publishing", str(repository), str(kill_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def count_steps(tmp_path: Path) -> int:
    steps: list[str] = []
    repository = Repository(tmp_path / "counted")
    repository.publish(publication(tmp_path / "files"), steps.append)
    return len(steps)


def leftovers(path: Path) -> list[str]:
    return [item.name for item in path.rglob(".*") if item.is_dir()]


@pytest.mark.parametrize("published_before", [0, 1], ids=["first", "second"])
def test_killed_at_every_step(tmp_path: Path, published_before: int) -> None:
    total = count_steps(tmp_path)
    assert total >= 12
    repositories = [Repository(tmp_path / f"killed-{step}") for step in range(total)]
    for repository in repositories if published_before else []:
        assert repository.publish(publication(tmp_path / "before")) == 1

    with ThreadPoolExecutor(4) as pool:

        def run(step: int) -> tuple[int, str]:
            process = start(repositories[step].path, step)
            output, _ = process.communicate(timeout=60)
            return process.returncode, output.strip()

        outcomes = list(pool.map(run, range(total)))

    names = [name for _, name in outcomes]
    assert {code for code, _ in outcomes} == {-signal.SIGKILL}, outcomes
    committed_from = next(index for index, name in enumerate(names) if name.startswith("commit digits/")) + 1
    for step, repository in enumerate(repositories):
        expected = list(range(1, published_before + 1 + (step >= committed_from)))
        found = repository.versions("digits") if repository.models() else []
        assert found == expected, f"killed before {names[step]!r}"
        for version in found:
            repository.verify("digits", version)
            assert repository.pointer("digits").stable == 1

        number = repository.publish(publication(tmp_path / "after", content=b"after"))
        assert number == len(expected) + 1
        for version in repository.versions("digits"):
            repository.verify("digits", version)
        assert leftovers(repository.path) == [], f"killed before {names[step]!r}"
        assert repository.pointer("digits").stable == 1


def test_two_publishers_at_once_get_two_numbers(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    processes = [start(repository.path) for _ in range(4)]
    numbers = sorted(int(process.communicate(timeout=60)[0]) for process in processes)
    assert numbers == [1, 2, 3, 4]
    assert repository.versions("digits") == numbers
    for version in numbers:
        repository.verify("digits", version)
    assert leftovers(repository.path) == []


def test_a_living_publishers_staging_survives_another_publish(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")

    def publish_inside(step: str) -> None:
        if step == "lock":
            assert repository.publish(publication(tmp_path / "inner", content=b"inner")) == 1

    assert repository.publish(publication(tmp_path / "outer", content=b"outer"), publish_inside) == 2
    assert [repository.verify("digits", version).version for version in (1, 2)] == [1, 2]
