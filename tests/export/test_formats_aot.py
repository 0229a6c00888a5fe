"""AOTInductor: compiled once on the trained network; opened only when something vouches for the file."""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.formats import aot_inductor
from export.formats.aot_inductor import compiler, instruction_sets
from export.formats.base import Artifact, ExportOptions
from export.formats.registry import find_format
from export.gates.base import Reference
from slipway.errors import EnvironmentUnfit, ExportFailed

pytestmark = pytest.mark.skipif(compiler() is None, reason="AOTInductor needs a C++ compiler: none is installed here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, reference: Reference, example: torch.Tensor) -> Artifact:
    folder = tmp_path_factory.mktemp("aot")
    for name in ("out", "shared"):
        (folder / name).mkdir()
    options = ExportOptions(8, folder / "logs", shared_dir=folder / "shared")
    before = dict(os.environ)
    artifact = find_format("aot-inductor").export(reference.module, example, folder / "out", options)
    assert dict(os.environ) == before, "the compiler's settings are its own process's"
    assert list((folder / "shared").iterdir()) == [], "its caches are gone"
    return artifact


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_it_agrees_at_every_batch_size(made: Artifact, reference: Reference, size: int) -> None:
    pixels = np.resize(reference.pixels, (size, *reference.pixels.shape[1:]))
    expected = reference.run(pixels)
    found = find_format("aot-inductor").session(made)(pixels)
    assert np.max(np.abs(found - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_one_file_without_sources_or_paths(made: Artifact) -> None:
    assert [path.name for path in made.path.parent.iterdir()] == ["model.pt2"]
    content = made.path.read_bytes()
    assert b".so" in content and b"wrapper.cpp\n" not in content
    for path in (made.path.parents[1], Path.cwd(), Path(torch.__file__).parent):
        assert str(path).encode() not in content


def test_what_nothing_vouches_for_is_not_opened(made: Artifact, tmp_path: Path) -> None:
    kind = find_format("aot-inductor")
    with pytest.raises(ExportFailed, match="nothing vouches for"):
        kind.session(Artifact("aot-inductor", made.path, 0.0))
    other = tmp_path / "model.pt2"
    other.write_bytes(made.path.read_bytes()[:-1] + b"?")
    with pytest.raises(ExportFailed, match=r"nothing vouches for.*sha256"):
        kind.session(replace(made, path=other))
    with pytest.raises(ExportFailed, match="no file"):
        kind.session(replace(made, path=tmp_path / "gone.pt2"))


def test_the_unpacked_library_lies_nowhere_once_it_is_loaded(
    made: Artifact, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    run = find_format("aot-inductor").session(made)
    assert list(tmp_path.iterdir()) == []
    assert os.environ["TMPDIR"] == str(tmp_path)
    assert run(reference.pixels[:3]).shape == (3, 6)


def test_code_for_another_processor_is_not_run(made: Artifact) -> None:
    assert made.details["instruction_sets"] == instruction_sets()
    assert made.details["machine"] == platform.machine()
    foreign = {**made.details, "instruction_sets": [*instruction_sets(), "avx1024_fancy"]}
    with pytest.raises(EnvironmentUnfit, match="without avx1024_fancy"):
        find_format("aot-inductor").session(replace(made, details=foreign))


def test_a_compiler_that_fails_is_the_reason(
    reference: Reference, example: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho no space left on this device >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(aot_inductor, "compiler", lambda: str(broken))
    options = ExportOptions(8, tmp_path / "logs")
    with pytest.raises(ExportFailed, match=r"the compilation ended with 1.*compile-aot-inductor\.log"):
        find_format("aot-inductor").export(reference.module, example, tmp_path, options)
    assert "no space left" in (tmp_path / "logs" / "compile-aot-inductor.log").read_text()
