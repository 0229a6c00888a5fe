"""Agreement of answers that are sets: detections, texts, embeddings and masks, matched by what they say and where,
never by index, because near-ties reorder. Plain functions over plain arrays, for the gates of every task."""

from export.gates.matching.detections import (
    DetectionAgreement,
    Detections,
    DetectionTolerance,
    compare_detections,
    match_detections,
    non_maximum_suppression,
)
from export.gates.matching.embeddings import EmbeddingAgreement, compare_embeddings
from export.gates.matching.masks import MaskAgreement, compare_label_maps, compare_masks
from export.gates.matching.texts import TextAgreement, TextRegion, compare_texts

__all__ = [
    "DetectionAgreement",
    "DetectionTolerance",
    "Detections",
    "EmbeddingAgreement",
    "MaskAgreement",
    "TextAgreement",
    "TextRegion",
    "compare_detections",
    "compare_embeddings",
    "compare_label_maps",
    "compare_masks",
    "compare_texts",
    "match_detections",
    "non_maximum_suppression",
]
