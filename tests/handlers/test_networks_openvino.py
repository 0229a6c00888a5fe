"""OpenVINO IR in this process: its answers, the precision that travels with it, its threads, and its telemetry off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.networks import open_network
from handlers.networks.openvino import PRECISION_INFO, Inference, compile_options, import_openvino, precision_hint
from slipway.errors import NetworkFailed, NetworkUnreadable
from tests.handlers.conftest import CLASSES, SIDE

if find_spec("openvino") is None:
    pytest.skip("openvino is not installed here", allow_module_level=True)

PIXELS = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)


def model_of(path: Path) -> Any:
    return import_openvino().Core().read_model(str(path))


def test_it_answers_as_onnxruntime_does(ir_file: Path, onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    run, other = open_network(ir_file), open_network(onnx_file)
    output = run(PIXELS)
    assert (output.shape, output.dtype) == ((8, CLASSES), np.dtype(np.float32))
    np.testing.assert_allclose(output, other(PIXELS), atol=1e-4)
    for size in (1, 8, 3):
        np.testing.assert_allclose(run(PIXELS[:size]), output[:size], atol=1e-4)


def test_an_answer_outlives_the_next_request(ir_file: Path) -> None:
    run = open_network(ir_file)
    first = run(PIXELS[:1])
    kept = first.copy()
    run(PIXELS[1:2])
    np.testing.assert_array_equal(first, kept)


def test_read_only_pixels_are_taken(ir_file: Path) -> None:
    frozen = PIXELS.copy()
    frozen.flags.writeable = False
    run = open_network(ir_file)
    np.testing.assert_array_equal(run(frozen), run(PIXELS))


def test_threads_take_turns(ir_file: Path) -> None:
    run = open_network(ir_file)
    expected = [run(PIXELS[i : i + 1]) for i in range(len(PIXELS))]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: run(PIXELS[i % 8 : i % 8 + 1]), range(200)))
    for index, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, expected[index % 8])


def test_what_openvino_would_answer_wrongly_is_refused(ir_file: Path) -> None:
    """It converts any type, and answers an empty batch with what the last one left behind."""
    run = open_network(ir_file)
    run(PIXELS)
    with pytest.raises(NetworkFailed, match="uint8"):
        run(PIXELS.astype(np.float32))
    with pytest.raises(NetworkFailed, match="empty"):
        run(PIXELS[:0])
    with pytest.raises(NetworkFailed, match="incompatible") as caught:
        run(PIXELS[:, :5, :5, :2].copy())
    assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)


@pytest.mark.parametrize("left", [None, 0, 0.5, -1])
def test_incomplete_weights(ir_file: Path, tmp_path: Path, left: float | None) -> None:
    weights = ir_file.with_suffix(".bin").read_bytes()
    (tmp_path / "model.xml").write_bytes(ir_file.read_bytes())
    if left is not None:
        (tmp_path / "model.bin").write_bytes(weights[: int(left * len(weights)) if left >= 0 else int(left)])
    with pytest.raises(NetworkUnreadable, match=r"weights") as caught:
        open_network(tmp_path / "model.xml")
    assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value) and caught.value.fix


def test_half_a_model_and_an_output_that_it_does_not_have(ir_file: Path, tmp_path: Path) -> None:
    text = ir_file.read_bytes()
    (tmp_path / "model.xml").write_bytes(text[: len(text) // 2])
    (tmp_path / "model.bin").write_bytes(ir_file.with_suffix(".bin").read_bytes())
    with pytest.raises(NetworkUnreadable, match=r"model\.xml"):
        open_network(tmp_path / "model.xml")
    with pytest.raises(NetworkUnreadable, match="boxes"):
        open_network(ir_file, output="boxes")


@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_the_precision_travels_with_the_model(ir_file: Path, tmp_path: Path, hint: str) -> None:
    openvino, model = import_openvino(), model_of(ir_file)
    model.set_rt_info(hint, list(PRECISION_INFO))
    openvino.save_model(model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    read = model_of(tmp_path / "model.xml")
    assert precision_hint(read) == hint
    assert compile_options(read, 1)["INFERENCE_PRECISION_HINT"] == hint


def test_without_a_word_about_it_the_network_is_computed_in_f32(ir_file: Path) -> None:
    """Not vacuous where the processor has bf16, which OpenVINO would take."""
    model = model_of(ir_file)
    assert precision_hint(model) is None
    compiled = import_openvino().Core().compile_model(model, "CPU", compile_options(model, 1))
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert "INFERENCE_NUM_THREADS" not in compile_options(model, 0)


def masks_while(run: Any, seconds: float) -> set[tuple[int, ...]]:
    """Every set of cores that a thread of this process was bound to while ``run`` ran again and again."""
    seen, ended = set(), threading.Event()

    def work() -> None:
        while not ended.is_set():
            run()

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for task in Path("/proc/self/task").iterdir():
            try:
                seen.add(tuple(sorted(os.sched_getaffinity(int(task.name)))))
            except OSError:
                continue  # a thread that has just ended
    ended.set()
    worker.join()
    return seen


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the threads' cores are read from /proc")
def test_threads_are_not_pinned_to_a_core(ir_file: Path) -> None:
    """By default two processes pin themselves to the SAME core and share it; seen here by the control."""
    everywhere = tuple(sorted(os.sched_getaffinity(0)))
    if len(everywhere) < 2:
        pytest.skip("one core: a pinned thread cannot be told from a free one")
    openvino, model = import_openvino(), model_of(ir_file)
    pinned = Inference(openvino.Core().compile_model(model, "CPU", {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}))
    assert masks_while(lambda: pinned({"pixels": PIXELS}, ["logits"]), 1.0) != {everywhere}
    # in a process of its own: threads of models that other tests compiled stay bound as long as their process lives
    code = (
        "import sys, pathlib\n"
        "from tests.handlers import test_networks_openvino as here\n"
        "run = here.open_network(pathlib.Path(sys.argv[1]))\n"
        "print(sorted(here.masks_while(lambda: run(here.PIXELS), 1.0)))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(ir_file)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([everywhere])


#: Every attempt to reach a network, or to start the process that openvino_telemetry sends from, is written down and
#: fails. What was tried is printed when all threads have ended.
_WATCHED = """
import atexit, json, sys
tried = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork", "os.posix_spawn", "subprocess.Popen"):
        tried.append(event)
        raise OSError("not in this test")
atexit.register(lambda: print(json.dumps(tried)))
sys.addaudithook(hook)
{program}
"""


def tried(program: str, home: Path, *arguments: str) -> list[str]:
    """What a program tried to reach; ``home`` is its home, in an environment that is no CI job's."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED.format(program=program), *arguments],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_opening_a_network_tells_nobody(ir_file: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from handlers.networks import open_network\n"
        "import numpy, os; run = open_network(Path(sys.argv[1]))\n"
        f"run(numpy.ones((1, {SIDE}, {SIDE}, 3), numpy.uint8)); assert 'CI' not in os.environ"
    )
    assert tried(program, tmp_path, str(ir_file)) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("openvino_telemetry") is None, reason="openvino has nothing to report with here")
def test_a_plain_import_of_openvino_does_tell(tmp_path: Path) -> None:
    """The control of the test above. When it fails, import_openvino's workaround can go."""
    assert tried("import openvino", tmp_path)
    assert list(tmp_path.iterdir())
