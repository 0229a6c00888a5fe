"""Every kind of artefact through its real runtime, and every way in which a file can be wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from handlers.networks import open_network
from slipway.errors import NetworkFailed, NetworkUnreadable
from tests.handlers.conftest import CLASSES, SIDE

PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """The same small torch module as TorchScript and as a torch.export program, and its own answer."""
    torch = pytest.importorskip("torch", reason="TorchScript and torch.export files are written with torch")

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, CLASSES)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.layer(pixels.float().mean(dim=(1, 2)) / 255)

    folder = tmp_path_factory.mktemp("torch")
    module, example = Small().eval(), torch.from_numpy(PIXELS)
    torch.jit.trace(module, example).save(str(folder / "model.pt"))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (example,), dynamic_shapes={"pixels": {0: batch}})
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt", folder / "model.pt2", module(example).detach().numpy()


def test_onnx(onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = open_network(onnx_file)
    output = run(PIXELS)
    assert (output.shape, output.dtype) == ((3, CLASSES), np.dtype(np.float32))
    assert np.allclose(run(PIXELS[1:2]), output[1:2], atol=1e-5)


def test_torchscript_and_export_equal_the_module(torch_files: tuple[Path, Path, np.ndarray]) -> None:
    import torch

    threads = torch.get_num_threads()
    try:
        for path in torch_files[:2]:
            run = open_network(path)
            assert torch.get_num_threads() == 1
            assert np.allclose(run(PIXELS), torch_files[2], atol=1e-6)
            assert run(PIXELS[:1]).shape == (1, CLASSES)
    finally:
        torch.set_num_threads(threads)


def test_threads_0_leaves_torch_its_own(torch_files: tuple[Path, Path, np.ndarray]) -> None:
    import torch

    threads = torch.get_num_threads()
    open_network(torch_files[0], threads=0)
    assert torch.get_num_threads() == threads


def test_onnx_does_not_import_torch(onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    program = (
        "import sys; from pathlib import Path; from handlers.networks import open_network\n"
        "open_network(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(onnx_file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("model.onnx", "onnxruntime"), ("model.xml", "openvino"), ("model.pt", "torch"), ("model.pt2", "torch")],
)
@pytest.mark.parametrize("content", [None, b"", b"not a network" * 100])
def test_missing_and_corrupt_files(tmp_path: Path, name: str, runtime: str, content: bytes | None) -> None:
    if find_spec(runtime) is None:
        pytest.skip(f"{runtime}, which opens {name}, is not installed here")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NetworkUnreadable, match=name) as caught:
        open_network(tmp_path / name)
    assert "\n" not in str(caught.value) and caught.value.fix


def test_unknown_kind_and_unknown_output(tmp_path: Path, onnx_file: Path) -> None:
    with pytest.raises(NetworkUnreadable, match=r"model\.h5"):
        open_network(tmp_path / "model.h5")
    pytest.importorskip("onnxruntime")
    with pytest.raises(NetworkUnreadable, match="boxes"):
        open_network(onnx_file, output="boxes")


def test_a_batch_that_the_network_does_not_take(onnx_file: Path, torch_files: tuple[Path, Path, np.ndarray]) -> None:
    pytest.importorskip("onnxruntime")
    for path in (onnx_file, torch_files[0], torch_files[1]):
        with pytest.raises(NetworkFailed) as caught:
            open_network(path, threads=0 if path.suffix != ".onnx" else 1)(PIXELS[:, :5, :5, :2].copy())
        assert "\n" not in str(caught.value)
