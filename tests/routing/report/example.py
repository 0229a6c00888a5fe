"""A rollout as it could have been: numbers drawn at random from a seed, answers of every task."""

import base64
import io
import math

import numpy as np
from PIL import Image
from scipy.optimize import brentq
from scipy.special import betaln

from routing.report.data import (
    Answer,
    ArmRow,
    Band,
    CheckRow,
    Curve,
    Disagreement,
    Failure,
    Outcome,
    PastVerdict,
    Place,
    ReportData,
    Ruling,
    StepRow,
    Traffic,
    VerdictView,
    Versions,
)

T0 = 1_795_000_000.0
SECONDS = 10.0
STEPS = ((0.01, 0, 300), (0.05, 300, 700), (0.25, 700, 1290))


def picture(size: tuple[int, int] = (64, 64), kind: str = "png") -> bytes:
    """A gradient with a dark shape: smooth as photographs, unlike noise, which no codec makes small."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([across, down, 255 - across], -1).astype(np.uint8)
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] = 20
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def vector(seed: int) -> str:
    values = np.random.default_rng(seed).normal(size=32)
    return base64.b64encode((values / np.linalg.norm(values)).astype("<f2").tobytes()).decode()


def grid(split: int) -> str:
    labels = np.zeros((64, 64), np.uint8)
    labels[:, split:] = 1
    labels[40:, :20] = 2
    return base64.b64encode(labels.tobytes()).decode()


def band(hits: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """The uniform mixture's confidence sequence of a rate (Robbins, 1970)."""

    def evidence(rate: float) -> float:
        inside = betaln(hits + 1, trials - hits + 1) - hits * math.log(rate) - (trials - hits) * math.log1p(-rate)
        return inside + math.log(alpha)

    middle = min(max(hits / trials, 1e-9), 1 - 1e-9)
    lower = brentq(evidence, 1e-12, middle) if hits else 0.0
    return lower, brentq(evidence, middle, 1 - 1e-12) if hits < trials else 1.0


def share_at(second: float) -> float:
    return next((share for share, start, stop in STEPS if start <= second < stop), 0.0)


def traffic(seed: int = 1) -> list[Traffic]:
    random = np.random.default_rng(seed)
    found = []
    for second in np.arange(0, 1290, SECONDS):
        share = share_at(second)
        total = random.poisson(180 * SECONDS)
        canary = random.binomial(total, share)
        for version, requests, rate, p50 in ((1, total - canary, 0.0004, 9.0), (2, canary, 0.012, 12.5)):
            if requests:
                p99 = p50 * (2.5 + random.exponential(0.5))
                errors = random.binomial(requests, rate)
                found.append(Traffic(T0 + second, version, requests, errors, p50 + random.normal(0, 0.4), p99))
    return found


def cumulative(rows: list[Traffic], version: int) -> Curve:
    hits = trials = 0
    bands = []
    for row in rows:
        if row.version == version:
            hits, trials = hits + row.errors, trials + row.requests
            bands.append(Band(row.start + SECONDS, hits / trials, *band(hits, trials)))
    return Curve("errors", tuple(bands), "rate", version)


def difference(stable: Curve, canary: Curve) -> Curve:
    pairs = zip(stable.bands[-len(canary.bands) :], canary.bands, strict=True)
    bands = [
        Band(b.time, b.estimate - a.estimate, b.lower - a.upper, b.upper - a.lower)
        for a, b in pairs
        if b.time > T0 + 60
    ]
    return Curve("error rate", tuple(bands), "points", None, 0.005)


def disagreements(digit: bytes, scene: bytes) -> list[Disagreement]:
    def found(number: int, task: str, left: dict, right: dict, image: bytes | None = None) -> Disagreement:
        answers = Answer(1, left), Answer(2, right)
        return Disagreement(f"req-{number:04d}", task, *answers, 0, T0 + 800 + number, 0.9 - number / 20, image)

    boxes = [[179, 67, 221, 128], [253, 211, 289, 254], [56, 296, 98, 351], [149, 228, 170, 254]]
    return [
        found(
            0, "classification",
            {"label": "7", "score": 0.91, "top": [["7", 0.91], ["1", 0.06], ["9", 0.02]]},
            {"label": "1", "score": 0.55, "top": [["1", 0.55], ["7", 0.43], ["4", 0.01]]}, digit,
        ),
        found(
            1, "detection",
            {"count": 4, "boxes": boxes, "scores": [0.98, 0.9, 0.95, 0.6], "labels": ["7", "3", "6", "0"]},
            {"count": 3, "boxes": boxes[:3], "scores": [0.97, 0.4, 0.9], "labels": ["7", "8", "6"]}, scene,
        ),
        found(2, "faces", {"count": 1, "boxes": boxes[:1], "scores": [0.9]}, {"count": 0, "boxes": [], "scores": []}),
        found(3, "ocr", {"text": "Invoice 10<7>/2026", "lines": 1}, {"text": "lnvoice 1O<7>/2026", "lines": 1}),
        found(4, "embedding", {"vector": vector(1)}, {"vector": vector(2)}),
        found(
            5, "segmentation", {"areas": {"road": 0.6, "sky": 0.4}, "grid": grid(30)},
            {"areas": {"road": 0.5, "sky": 0.5}, "grid": grid(20)}, scene,
        ),
        Disagreement(
            "req-0006", "classification", Answer(1, {"label": "3", "score": 0.8}), Answer(2, None, "NETWORK_FAILED")
        ),
        found(7, "classification", {"labels": [["cat", 0.9], ["indoors", 0.8]]}, {"labels": [["cat", 0.9]]}, digit),
    ]  # fmt: skip


def arm(version: int, rows: list[Traffic], share: float) -> ArmRow:
    own = [row for row in rows if row.version == version]
    requests, errors = sum(row.requests for row in own), sum(row.errors for row in own)
    p50, p99 = (float(np.median([getattr(row, name) for row in own])) for name in ("p50_ms", "p99_ms"))
    return ArmRow(
        version, share, requests // 7, requests, errors, *band(errors, requests), p50, p99, requests // 50,
        round(requests // 50 * (0.981 if version == 1 else 0.954)), requests, 0,
    )  # fmt: skip


def example(digit: bytes | None = None, scene: bytes | None = None) -> ReportData:
    """An aborted rollout of version 2: too many errors, found in the third step."""
    rows = traffic()
    stable, canary = cumulative(rows, 1), cumulative(rows, 2)
    gap = difference(stable, canary)
    last = gap.bands[-1]
    checks = (
        CheckRow(
            "error rate", "abort", "Version 2 fails at least 0.5 points more often than version 1.", last.estimate,
            last.lower, last.upper, sum(row.requests for row in rows), "points",
        ),
        CheckRow("latency p99", "hold", "Not yet told apart from 20 % slower.", 1.14, 1.02, 1.31, 9000, "ratio"),
        CheckRow("agreement", "promote", "Answers agree at least 97 % of the time.", 0.984, 0.975, 0.991, 2210, "rate"),
        CheckRow("label accuracy", "hold", "No labels came.", None, None, None, 0, "points"),
    )  # fmt: skip
    reasons = ("Version 2 fails at least 0.5 points more often than version 1, and 0.5 is allowed.",)
    history = [
        PastVerdict(T0 + at, int(at >= 300) + int(at >= 700), "hold", "too few requests yet")
        for at in range(60, 1260, 60)
    ]
    history.append(PastVerdict(T0 + 1288, 2, "abort", reasons[0]))
    agreement = []
    for number, place in enumerate(range(40, 1290, 40), 1):
        agreement.append(Band(T0 + place, 0.984, *band(round(0.984 * 70 * number), 70 * number)))
    failures = [
        Failure(f"req-{number:05d}", T0 + 1200 + number, 2, "INTERNAL", 1 if number % 9 else None)
        for number in range(20)
    ]
    steps = [StepRow(share, 300.0, T0 + start, T0 + stop) for share, start, stop in STEPS]
    return ReportData(
        model="digits",
        experiment="digits-2-20261118",
        salt="9f2c41d0",
        status="aborted",
        versions=Versions(1, 2),
        started=T0,
        ended=T0 + 1290,
        made=T0 + 1400,
        reasons=reasons,
        steps=(*steps, StepRow(0.5, 300.0), StepRow(1.0, 300.0)),
        step=2,
        arms=(arm(1, rows, 0.75), arm(2, rows, 0.25)),
        sample_ratio=Ruling("sample ratio", "pass", "24.9 %", "25.0 %", "Units fall as declared (p = 0.42)."),
        guardrails=(
            Ruling("server errors", "abort", "1.2 %", "at most 0.5 points more"),
            Ruling("not finite", "pass", "0", "none", "No NaN in 21,013 answers."),
            Ruling("drift", "hold", "", "", "No hook is set."),
        ),
        verdict=VerdictView("abort", reasons, checks, T0 + 1288),
        history=tuple(history),
        interval=SECONDS,
        traffic=tuple(rows),
        error_rates=(stable, canary),
        differences=(gap,),
        agreements=(Curve("agreement", tuple(agreement), "rate", 2, 0.97),),
        disagreements=tuple(disagreements(digit or picture(), scene or picture((416, 416), "jpeg"))),
        outcomes=(Outcome("clicked", 1, 5000, 620), Outcome("clicked", 2, 900, 98)),
        failed=252,
        unanswered=3,
        failures=tuple(failures),
        reproduce=(
            Place("This report", "slipway route digits --status --html report.html"),
            Place("State", "model_repository/digits/rollout.json"),
        ),
    )
