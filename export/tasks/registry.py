"""The judge of a contract's task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from export.tasks.base import Judge
from export.tasks.detection import DetectionJudge
from export.tasks.embedding import EmbeddingJudge
from export.tasks.labels import LabelsJudge
from export.tasks.ocr import OcrJudge
from export.tasks.segmentation import SegmentationJudge
from slipway.contract import Contract

_JUDGES: dict[str, Callable[[Sequence[str]], Judge]] = {
    "classification": LabelsJudge,
    "detection": DetectionJudge,
    "faces": DetectionJudge,
    "ocr": lambda labels: OcrJudge(),
    "embedding": lambda labels: EmbeddingJudge(),
    "segmentation": SegmentationJudge,
}


def judge_of(contract: Contract) -> Judge:
    """Of the contract's own task; its attributes are judged network by network."""
    return _JUDGES[contract.task](contract.labels)
