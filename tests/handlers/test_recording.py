"""Notes of answers: what is in them, that they are bounded, and that nothing waits for them or fails with them."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.pipeline import Pipeline
from handlers.recording import Recorder, files, images, wanted, writer
from handlers.recording.encode import encoded
from handlers.recording.images import ImageFolder, image_name
from handlers.recording.summaries import MOST_BYTES
from handlers.recording.writer import Writer
from slipway.contract import Contract
from slipway.errors import ImageTruncated, NetworkFailed, RequestInvalid
from tests.handlers.pictures import read
from tests.serving import dominant_colour

IDENTITY = {"model": "colour", "version": "2"}
COFFEE = read("coffee.png")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def pipeline(network: Any = lambda pixels: dominant_colour.logits(pixels, 4.0)) -> Pipeline:
    return Pipeline(dominant_colour.contract("colour"), network)


def recorder(folder: Path, contract: Contract | None = None) -> Recorder:
    return Recorder(folder, contract or dominant_colour.contract("colour"), IDENTITY)


def test_a_line_per_image(tmp_path: Path) -> None:
    found, asked = recorder(tmp_path), [COFFEE, b"", COFFEE[:900]]
    answers = pipeline().run(asked)
    before = time.time()
    found.note("image", "q/../1", asked, answers, 0.5)
    found.close()
    good, empty, torn = lines(tmp_path)
    record = answers[0].record()  # type: ignore[union-attr]
    assert good.pop("time") == pytest.approx(before, abs=5)
    summary = good.pop("summary")
    assert good == {
        "request_id": "q/../1",
        "model": "colour",
        "version": 2,
        "task": "classification",
        "ms": 500.0,
        "index": 0,
        "code": None,
        "not_finite": False,
    }
    assert summary["label"] == summary["top"][0][0] == record["labels"][0]
    assert [score for _, score in summary["top"]] == pytest.approx(record["scores"].tolist(), abs=1e-5)
    assert (empty["index"], empty["code"], empty["summary"]) == (1, "IMAGE_EMPTY", None)
    assert (torn["index"], torn["code"]) == (2, "IMAGE_TRUNCATED")
    kept = tmp_path / "images"
    assert (kept / image_name("q/../1", 0)).read_bytes() == COFFEE
    assert {path.name for path in kept.iterdir()} == {image_name("q/../1", index) for index in range(3)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path, *tmp_path.rglob("*")) if path != tmp_path)


def test_without_the_word_no_image_is_kept(tmp_path: Path) -> None:
    found = recorder(tmp_path)
    found.note("1", "a", [COFFEE], pipeline().run([COFFEE]), 0)
    found.note("1", None, [COFFEE], pipeline().run([COFFEE]), 0)
    found.close()
    assert len(lines(tmp_path)) == 1 and not (tmp_path / "images").exists()


def test_a_network_of_nan_is_told_apart_from_other_failures(tmp_path: Path) -> None:
    nan = pipeline(lambda pixels: np.full((len(pixels), 3), np.nan, np.float32))
    with pytest.raises(NetworkFailed) as caught:
        nan.run([COFFEE, COFFEE])
    named = NetworkFailed("attribute age: the network returned them")
    named.__cause__ = caught.value
    found = recorder(tmp_path)
    found.note("1", "nan", [COFFEE, COFFEE], caught.value, 0)
    found.note("1", "named", [COFFEE], named, 0)
    found.note("1", "other", [COFFEE], NetworkFailed("the network failed"), 0)
    found.note("1", "bug", [COFFEE], ZeroDivisionError("x"), 0)
    found.note("1", "early", [], RequestInvalid("no input"), 0)
    found.close()
    assert [(row["request_id"], row["index"], row["code"], row["not_finite"]) for row in lines(tmp_path)] == [
        ("nan", 0, "NETWORK_FAILED", True),
        ("nan", 1, "NETWORK_FAILED", True),
        ("named", 0, "NETWORK_FAILED", True),
        ("other", 0, "NETWORK_FAILED", False),
        ("bug", 0, "INTERNAL", False),
        ("early", 0, "REQUEST_INVALID", False),
    ]


def test_an_answer_of_no_known_form_is_an_answer(tmp_path: Path) -> None:
    found = recorder(tmp_path)
    found.note("1", "a", [b""], [object()], 0)  # type: ignore[list-item]
    found.close()
    other = recorder(tmp_path, replace(dominant_colour.contract("colour"), handler="any:Other"))
    other.note("1", "b", [b""], pipeline().run([COFFEE]), 0)
    other.close()
    first, second = lines(tmp_path)
    assert (first["code"], first["summary"]) == (None, None) and second["summary"] is not None


def test_lines_are_there_soon_without_a_close(tmp_path: Path) -> None:
    made = Writer(tmp_path)
    made.put({"request_id": "a", "index": 0})
    assert made.flush() and len(lines(tmp_path)) == 1
    made.put({"request_id": "b", "index": 0})
    deadline = time.monotonic() + 5
    while len(lines(tmp_path)) < 2 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(lines(tmp_path)) == 2
    made.close()
    made.put({"request_id": "c"})
    assert len(lines(tmp_path)) == 2


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    made = Writer(tmp_path)

    def put(thread: int) -> None:
        for number in range(100):
            made.put({"request_id": f"{thread}-{number}", "index": 0})

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert {row["request_id"] for row in lines(tmp_path)} == {f"{t}-{n}" for t in range(8) for n in range(100)}


def test_a_full_queue_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    append = files.LineFile.append

    def slow(self: files.LineFile, found: list[bytes]) -> None:
        gate.wait(10)
        append(self, found)

    monkeypatch.setattr(files.LineFile, "append", slow)
    made = Writer(tmp_path)
    sent = writer.MOST_WAITING * 3
    started = time.perf_counter()
    for number in range(sent):
        made.put({"n": number})
    assert time.perf_counter() - started < 2
    gate.set()
    assert made.flush(10)
    made.put({"n": sent})
    made.close()
    found = lines(tmp_path)
    dropped = sum(row.get("dropped", 0) for row in found)
    assert dropped >= writer.MOST_WAITING and dropped + sum("n" in row for row in found) == sent + 1


def test_images_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_IMAGE_BYTES", 250)
    made = Writer(tmp_path)
    with made._changed:  # the other thread cannot take anything away meanwhile
        for number in range(4):
            made.put({"request_id": str(number), "index": 0}, b"i" * 100)
    made.put({"request_id": "large", "index": 0}, b"i" * 300)
    made.close()
    assert len(lines(tmp_path)) == 5 and len(list((tmp_path / "images").iterdir())) == 2


def test_files_are_bounded_and_never_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILE_BYTES", 100)
    for _ in range(2):  # a process of the same pid again
        file = files.LineFile(tmp_path)
        for number in range(10):
            file.append([b'{"n":%d}\n' % number] * 8)
    kept = sorted(tmp_path.glob("*.jsonl"), key=lambda path: int(path.name.split(".")[1]))
    numbers = [int(path.name.split(".")[1]) for path in kept]
    assert len(kept) == files.KEPT_FILES and numbers == list(range(numbers[0], numbers[0] + len(kept)))
    assert all(path.stat().st_size < 300 for path in kept)
    assert kept[-1].read_text().splitlines()[-1] == '{"n":9}'


def test_a_line_that_somebody_left_unfinished_ends_first(tmp_path: Path) -> None:
    (tmp_path / f"{os.getpid()}.jsonl").write_bytes(b'{"n": 1}\n{"n"')
    file = files.LineFile(tmp_path)
    file.append([b'{"n":2}\n'])
    file.append([b'{"n":3}\n'])
    texts = (tmp_path / f"{os.getpid()}.jsonl").read_text().splitlines()
    assert texts == ['{"n": 1}', '{"n"', '{"n":2}', '{"n":3}']


def test_what_dead_processes_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, fresh = tmp_path / "1.2.jsonl", tmp_path / "2.jsonl"
    for path in (old, fresh):
        path.write_text("{}\n")
    os.utime(old, (1e9, 1e9))
    files.LineFile(tmp_path).append([b"{}\n"])
    assert not old.exists() and fresh.exists()
    monkeypatch.setattr(images, "LEFT_BYTES", 250)
    folder = tmp_path / "images"
    folder.mkdir()
    for age in range(5):
        (folder / str(age)).write_bytes(b"x" * 100)
        os.utime(folder / str(age), (1e9 - age, 1e9 - age))
    ImageFolder(folder).keep("a", 0, b"new")
    assert {path.name for path in folder.iterdir()} == {"0", "1", image_name("a", 0)}


@pytest.mark.parametrize(("name", "most"), [("LEFT_FILES", 10), ("LEFT_BYTES", 10 * 300)])
def test_a_process_that_dies_again_and_again_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(files, name, most)
    for pid in range(1, 40):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        files.LineFile(tmp_path).append([b"x" * 299 + b"\n"])
        os.utime(tmp_path / f"{pid}.jsonl", (time.time() - 100 + pid,) * 2)
    # those of the last, and of the one that is writing
    assert {int(path.stem) for path in tmp_path.iterdir()} == set(range(29, 40))


def test_images_are_bounded_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IMAGE_BYTES", 1000)
    folder = ImageFolder(tmp_path)
    for number in range(60):
        folder.keep(str(number), 0, b"i" * 100)
    folder.keep("59", 0, b"another version's copy of the request")
    folder.keep("giant", 0, b"i" * 1001)
    assert {path.name for path in tmp_path.iterdir()} == {image_name(str(number), 0) for number in range(50, 60)}
    assert (tmp_path / image_name("59", 0)).read_bytes() == b"i" * 100


def test_a_disk_that_is_gone_costs_notes_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    made = Writer(tmp_path / "file" / "below")
    for number in range(3):
        made.put({"request_id": str(number), "index": 0}, b"image")
        assert made.flush()
    (tmp_path / "file").unlink()
    made.put({"request_id": "again", "index": 0}, b"image")
    made.close()
    found = lines(tmp_path / "file" / "below")
    assert [row.get("dropped") for row in found] == [3, None] and found[1]["request_id"] == "again"


def test_what_json_does_not_have_costs_its_own_note(tmp_path: Path) -> None:
    made = Writer(tmp_path)
    made.put({"request_id": "bad", "index": 0, "summary": object()})
    made.put({"request_id": "good", "index": 0, "summary": None})
    assert made.flush()
    made.put({"request_id": "after", "index": 0, "summary": None})
    made.close()
    found = lines(tmp_path)
    assert [row.get("request_id") for row in found] == ["good", None, "after"] and found[1] == {"dropped": 1}


def test_lines_are_what_every_reader_takes() -> None:
    summary = {"text": 'a\x00b\ud800c"\n', "score": float("nan"), "rows": [[float("inf"), 1.5]]}
    text = encoded({"request_id": "x\u2028", "not_finite": False, "summary": summary})
    assert text.count(b"\n") == 1 and b"\\u0000" not in text
    line = json.loads(text.decode("utf-8"), parse_constant=pytest.fail)
    assert line["not_finite"] is True and line["summary"] == {"text": 'a?b?c"\n', "score": None, "rows": [[None, 1.5]]}
    large = json.loads(encoded({"not_finite": False, "summary": {"text": "x" * MOST_BYTES}}))
    assert large == {"not_finite": False, "truncated": True, "summary": None}


def test_the_header_is_found_in_any_case() -> None:
    assert wanted({"X-Slipway-Record": "image"}) == "image" and wanted({"other": 1}) is None
    assert wanted({"x-slipway-record": ""}) is wanted({"x-slipway-record": "0"}) is None
    assert wanted({"X-Slipway-Record": "image", "x-slipway-record": "0"}) is None


def test_it_is_off_unless_the_variable_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = dominant_colour.contract("colour")
    monkeypatch.delenv("SLIPWAY_PREDICTIONS", raising=False)
    assert Recorder.of_environment(contract, IDENTITY) is None
    monkeypatch.setenv("SLIPWAY_PREDICTIONS", str(tmp_path))
    made = Recorder.of_environment(contract, IDENTITY)
    assert made is not None
    made.note("1", "a", [], ImageTruncated("it ends"), 0)
    made.close()
    assert lines(tmp_path)[0]["code"] == "IMAGE_TRUNCATED"
