"""The stub processes of Triton's python backend: one per model instance, and Triton does not notice when one dies.

A dead stub stays Triton's zombie child. Its instance then answers every request with an error after a second, while
Triton calls the model ready (2.51). So the supervisor looks at the processes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving import process_id
from serving.triton.environment import STUB_NAME


@dataclass(frozen=True)
class Stub:
    """One model instance's process: ``instance`` is Triton's name for it, for example ``digits_0_1``."""

    pid: int
    ticks: int | None
    model: str
    version: int
    instance: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs; a zombie does not."""
        return process_id.alive(self.pid, self.ticks)


def list_stubs(triton_pid: int, repository: Path) -> list[Stub]:
    """The living stubs of one Triton. Reads all of /proc: some milliseconds, so not for every tick."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and process_id.parent(int(entry.name)) == triton_pid:
            stub = _stub(int(entry.name), repository)
            if stub is not None:
                found.append(stub)
    return found


def _stub(pid: int, repository: Path) -> Stub | None:
    """A stub's arguments (python_backend 24.10): itself, the model's file, shared memory, ..., instance, kind."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return None
    if Path(arguments[0]).name != STUB_NAME or len(arguments) < 9:
        return None
    try:
        model, version = Path(arguments[1]).relative_to(repository).parts[:2]
        return Stub(pid, process_id.start_ticks(pid), model, int(version), arguments[8])
    except ValueError:
        return None
