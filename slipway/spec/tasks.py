"""``detection``, ``faces``, ``ocr``, ``embedding``, ``segmentation``: how outputs become answers.

Each section becomes ``settings`` of the contract as it stands here; the task's handler reads it there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from slipway.spec.base import Section


class TaskSection(Section):
    """What the sections of the tasks share."""

    def settings(self) -> dict[str, Any]:
        """JSON-ready, for the contract."""
        return self.model_dump(mode="json")


class TileSpec(Section):
    """Large pictures in overlapping parts; see handlers.tiling."""

    enabled: Literal["auto", "never", "always"] = "auto"
    overlap: float = Field(default=0.2, ge=0, lt=0.9, description="share of a tile; best no less than an object has")
    max_tiles: int = Field(default=128, ge=1, le=1000, description="a picture that needs more is scaled down first")
    above: float = Field(default=1.5, ge=1, description="auto: tile what fitting the input would shrink more than this")
    reductions: tuple[Annotated[float, Field(ge=1, le=64)], ...] = Field(
        default=(1.0,), min_length=1, description="scales at which tiles are cut: 1 the picture's own, 2 half of it"
    )
    whole: bool = Field(default=True, description="look at the whole picture as well")


class DetectionSpec(TaskSection):
    """From boxes and class scores to detections; see handlers.detection.

    The network's output is float32[N, places, 4 + labels], with ``anchors_last`` [N, 4 + labels, places] as YOLOv8's.
    With ``objectness`` one more number follows the box, as YOLOv5's.
    """

    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.5, gt=0, le=1, description="overlap above which the lesser box is dropped")
    max_detections: int = Field(default=100, ge=1, le=3000)
    candidates: int = Field(default=1000, ge=1, le=30_000, description="best places that suppression looks at")
    layout: Literal["xyxy", "cxcywh"] = Field(default="xyxy", description="the box: two corners, or centre and sides")
    units: Literal["pixels", "fraction"] = Field(default="pixels", description="of the network's input")
    anchors_last: bool = False
    objectness: bool = False
    activation: Literal["none", "sigmoid"] = Field(default="none", description="what turns outputs into scores")
    class_agnostic: bool = Field(default=False, description="boxes of different labels suppress one another too")
    tile: TileSpec = Field(default_factory=TileSpec)


class FacesSpec(TaskSection):
    """From the proposals of three networks to faces; see handlers.mtcnn and handlers.alignment."""

    score_threshold: float = Field(default=0.7, ge=0, le=1, description="of the last network, for a face")
    proposal_threshold: float = Field(default=0.6, ge=0, le=1, description="of the first network, pnet")
    refine_threshold: float = Field(default=0.7, ge=0, le=1, description="of the second network, rnet")
    factor: float = Field(default=0.709, gt=0.1, lt=0.95, description="between the sizes that a picture is seen at")
    min_face_size: int = Field(default=20, ge=12, le=4096, description="pixels of the picture")
    max_faces: int = Field(default=100, ge=1, le=3000)
    candidates: int = Field(default=1000, ge=1, le=10_000, description="of one picture that rnet and onet look at")
    pyramid_pixels: int = Field(
        default=2_000_000,
        ge=10_000,
        le=50_000_000,
        description="of the largest size that pnet sees; above it the least face grows with the picture",
    )
    picture_pixels: int = Field(
        default=6_000_000, ge=10_000, le=100_000_000, description="above it a picture is reduced by a whole number"
    )
    crops: Literal["landmarks", "box"] = Field(
        default="landmarks",
        description="what attributes see: the face turned upright (ArcFace's template), or its box (facenet-pytorch)",
    )


class OcrSpec(TaskSection):
    """From a map of text to lines and their words; see handlers.ocr."""

    text_score: float = Field(default=0.5, ge=0, le=1, description="mean over a line's characters")
    threshold: float = Field(default=0.3, gt=0, lt=1, description="of the map: a pixel that belongs to text")
    box_threshold: float = Field(default=0.5, ge=0, le=1, description="mean of the map that a box must have")
    unclip_ratio: float = Field(default=1.6, ge=0, le=10, description="growth of boxes: area times this over perimeter")
    min_side: int = Field(default=736, ge=32, le=8192, description="the detector sees smaller pictures scaled up")
    max_side: int = Field(
        default=2016, ge=32, le=8192, description="and larger ones scaled down; lines are cut in full"
    )
    max_scale: float = Field(
        default=2.0, ge=1, le=64, description="what it sees is enlarged no more: text too large for it is found worse"
    )
    direction_threshold: float = Field(default=0.9, ge=0.5, le=1, description="score of a line that is turned")
    max_lines: int = Field(default=200, ge=1, le=5000)
    max_line_width: int = Field(default=3200, ge=32, le=16_384, description="pixels; longer lines are squeezed")
    min_line_width: int = Field(default=320, ge=1, le=16_384, description="pixels; shorter lines are padded")
    line_width_step: int = Field(
        default=32, ge=1, le=4096, description="widths are multiples: more of them, less padding"
    )


class EmbeddingSpec(TaskSection):
    """From a network's output to a vector; see handlers.embedding."""

    normalise: Literal["l2", "none"] = Field(default="l2", description="l2: to length one")
    dimension: int = Field(default=0, ge=0, description="of a vector; 0: any")


class SegmentationSpec(TaskSection):
    """From a network's maps to one label per pixel; see handlers.segmentation."""

    background: str = Field(default="", description="the label of what the network has not seen; empty: none")
    threshold: float = Field(default=0.5, ge=0.001, le=0.999, description="of a network's one map for two labels")


#: The section of each task that has one, by the task's name, which is also its key in the specification.
SECTIONS: dict[str, type[TaskSection]] = {
    "detection": DetectionSpec,
    "faces": FacesSpec,
    "ocr": OcrSpec,
    "embedding": EmbeddingSpec,
    "segmentation": SegmentationSpec,
}
