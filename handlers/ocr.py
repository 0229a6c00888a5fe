"""Text recognition: a picture's lines of text, in reading order, with their places and scores.

Three networks, the contract's parts: ``det`` maps where text is, ``rec`` reads a straightened line, and ``cls``, which
may be missing, says whether a line stands on its head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.calls import Call, Networks
from handlers.fields import COUNT, Field, Record
from handlers.picture import Picture
from handlers.stages import stage
from handlers.task import Answer, finite
from handlers.text import ctc
from handlers.text.batches import Batch, by_width
from handlers.text.crop import Source
from handlers.text.db import find_boxes
from handlers.text.order import reading_order
from handlers.text.quads import Quads, along_text, enlarged, upside_down
from handlers.text.settings import OcrOptions, OcrSettings
from handlers.text.view import View, shown, view
from slipway.contract import Contract, Part
from slipway.errors import ContractInvalid, ImageError

DETECT, DIRECT, READ = "det", "cls", "rec"
#: Output of the direction network that means: upside down.
_TURNED = 1
#: Pictures are read together while they have no more pixels than this: what keeps memory bounded.
_PIXELS_AT_ONCE = 24_000_000
#: Columns of lines that go to a network in one call, and in one list of calls: 6,400 make 60 MB of probabilities of
#: 18,710 symbols at one step per 8 columns.
_COLUMNS_PER_CALL, _COLUMNS_AT_ONCE = 3200, 6400

Output = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class OcrResult:
    """n lines in reading order. ``quads``: float32[n, 4, 2], pixels of the upright picture, clockwise from the corner
    where the text begins; ``texts``: n strings; ``scores``: float32[n] in 0..1, the mean over a line's characters."""

    quads: npt.NDArray[np.float32]
    texts: tuple[str, ...]
    scores: npt.NDArray[np.float32]

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {"quads": self.quads, "texts": self.texts, "scores": self.scores}


@dataclass(frozen=True, eq=False)
class _Page:
    """One picture on its way: ``row`` of the request; ``shown``: the detector's input, of ``view``."""

    row: int
    source: Source
    view: View
    shown: Pixels
    options: OcrOptions


@dataclass(frozen=True, eq=False)
class _Line:
    """One line on its way. ``page``: position among the pages; ``quad``: [4, 2] of the picture."""

    page: int
    quad: Quads
    pixels: Pixels
    text: str = ""
    score: float = 0.0

    def turned(self) -> _Line:
        """The same line, read from its other end."""
        return replace(self, quad=upside_down(self.quad), pixels=np.ascontiguousarray(self.pixels[::-1, ::-1]))


class Ocr:
    """The task handler that a contract names as ``handlers.ocr:Ocr``."""

    fields = (
        Field("quads", "float32", (4, 2), each=True),
        Field("texts", "string", each=True),
        Field("scores", "float32", each=True),
        COUNT,
    )

    def __init__(self, contract: Contract) -> None:
        """Raises ContractInvalid for other parts, or settings that there are not."""
        self.contract = contract
        self.settings = OcrSettings.of(contract)
        self._parts = _parts(contract)
        self._symbols = self._parts[READ].labels
        self._height = self._parts[READ].height

    def options(self, parameters: Mapping[str, Any]) -> OcrOptions:
        """``text_score``: least score of a line; ``box_threshold``: of its place; ``max_lines``: no more than the
        contract's, those whose places are surest; ``use_direction``: whether lines may stand on their heads.
        Raises RequestInvalid."""
        return OcrOptions.of(parameters, self.settings)

    def width(self, options: OcrOptions) -> int:
        """As handlers.task.Task."""
        return options.max_lines

    def run(self, pictures: Sequence[Picture], options: Sequence[Any], networks: Networks) -> list[Answer]:
        """As handlers.task.Task.run. A picture's answer does not depend on those that it is sent with."""
        answers: list[Answer | None] = [None] * len(pictures)
        for rows in _together(pictures):
            pages = []
            for row in rows:
                try:
                    pages.append(self._page(row, pictures[row], options[row]))
                except ImageError as error:
                    answers[row] = error
            for page, result in zip(pages, self._read_pages(pages, networks), strict=True):
                answers[page.row] = result
        return cast("list[Answer]", answers)

    def crops(self, image: Image.Image, result: OcrResult, margin: float) -> list[Image.Image]:
        """The straightened lines of ``result``, at the height that they are read in, for attributes on items.

        ``margin``: of the line's height, added all around."""
        source = Source(np.asarray(image))
        quads = (enlarged(quad, margin) for quad in result.quads.astype(np.float64))
        return [Image.fromarray(source.crop(quad, self._height, self.settings.max_line_width)) for quad in quads]

    def _page(self, row: int, picture: Picture, options: OcrOptions) -> _Page:
        image = picture.image()
        with stage("resize"):
            seen = view(picture.size, self.settings.min_side, self.settings.max_side, self.settings.max_scale)
            pixels = shown(image, seen, self.contract.preprocess.max_pixels)
            return _Page(row, Source(np.asarray(image)), seen, pixels, options)

    def _read_pages(self, pages: Sequence[_Page], networks: Networks) -> list[OcrResult]:
        lines = self._lines(pages, networks)
        if DIRECT in self._parts:
            lines = self._directed(lines, pages, networks)
        lines = self._read(lines, networks)
        with stage("order"):
            return [
                _result([line for line in lines if line.page == number], page.options)
                for number, page in enumerate(pages)
            ]

    def _lines(self, pages: Sequence[_Page], networks: Networks) -> list[_Line]:
        """The lines of all pages, page by page, not read yet."""
        lines: list[_Line] = []
        for number, (page, output) in enumerate(zip(pages, self._maps(pages, networks), strict=True)):
            with stage("boxes"):
                found = find_boxes(
                    output, self.settings.threshold, page.options.box_threshold, self.settings.unclip_ratio
                ).best(page.options.max_lines)
                quads = page.view.to_picture(found.quads)
            with stage("crop"):
                for quad in map(along_text, quads):
                    lines.append(_Line(number, quad, self._cut(page.source, quad)))
        return lines

    def _cut(self, source: Source, quad: Quads) -> Pixels:
        return source.crop(quad, self._height, self.settings.max_line_width)

    def _maps(self, pages: Sequence[_Page], networks: Networks) -> list[Output]:
        """float32[H, W] of every page; pages that are shown in one size go together."""
        batches = []
        for size in dict.fromkeys(page.view.input for page in pages):
            rows = tuple(row for row, page in enumerate(pages) if page.view.input == size)
            batches.append(Batch(rows, np.stack([pages[row].shown for row in rows])))
        maps: dict[int, Output] = {}
        for batch, output in _called(DETECT, batches, networks):
            high, wide = batch.pixels.shape[1:3]
            fits = output.shape[1:] == (1, high, wide)
            checked = finite(output, f"float[{len(batch.rows)}, 1, {high}, {wide}]", fits)
            maps.update(zip(batch.rows, checked[:, 0], strict=True))
        return [maps[row] for row in range(len(pages))]

    def _directed(self, lines: Sequence[_Line], pages: Sequence[_Page], networks: Networks) -> list[_Line]:
        """Lines that surely stand on their heads are turned."""
        part = self._parts[DIRECT]
        asked = [row for row, line in enumerate(lines) if pages[line.page].options.use_direction]
        with stage("crop"):
            seen = [_squeezed(lines[row].pixels, (part.width, part.height)) for row in asked]
            batches = by_width(seen, part.width, part.width, _COLUMNS_PER_CALL)
        directed = list(lines)
        for batch, output in _called(DIRECT, batches, networks):
            checked = finite(output, f"float[{len(batch.rows)}, 2]", output.shape[1:] == (2,))
            for row, scores in zip(batch.rows, checked, strict=True):
                if scores[_TURNED] > self.settings.direction_threshold:
                    directed[asked[row]] = lines[asked[row]].turned()
        return directed

    def _read(self, lines: Sequence[_Line], networks: Networks) -> list[_Line]:
        settings = self.settings
        with stage("crop"):
            batches = by_width(
                [line.pixels for line in lines], settings.line_width_step, settings.min_line_width, _COLUMNS_PER_CALL
            )
        read = list(lines)
        for batch, output in _called(READ, batches, networks):
            with stage("decode text"):
                fits = output.ndim == 3 and output.shape[2] == len(self._symbols)
                checked = finite(output, f"float[{len(batch.rows)}, steps, {len(self._symbols)}]", fits)
                for row, steps in zip(batch.rows, checked, strict=True):
                    text, score = ctc.decode(steps, self._symbols)
                    read[row] = replace(lines[row], text=text, score=score)
        return read


def _called(network: str, batches: Sequence[Batch], networks: Networks) -> Iterator[tuple[Batch, Output]]:
    """The batches with what the network says, in lists of calls whose outputs fit in memory together."""
    waiting: list[Batch] = []
    columns = 0
    for index, batch in enumerate(batches):
        waiting.append(batch)
        columns += batch.pixels.shape[0] * batch.pixels.shape[2]
        if columns >= _COLUMNS_AT_ONCE or index == len(batches) - 1:
            with stage(f"network {network}"):
                outputs = networks.run([Call(network, item.pixels) for item in waiting])
            yield from zip(waiting, outputs, strict=True)
            waiting, columns = [], 0


def _together(pictures: Sequence[Picture]) -> Iterator[list[int]]:
    """Positions of pictures in order, cut where they would have too many pixels together."""
    rows: list[int] = []
    pixels = 0
    for row, picture in enumerate(pictures):
        own = picture.size[0] * picture.size[1]
        if rows and pixels + own > _PIXELS_AT_ONCE:
            yield rows
            rows, pixels = [], 0
        rows.append(row)
        pixels += own
    yield rows


def _result(lines: Sequence[_Line], options: OcrOptions) -> OcrResult:
    """The lines that say something, in reading order."""
    good = [line for line in lines if line.text.strip() and line.score >= options.text_score]
    quads = np.array([line.quad for line in good], np.float64).reshape(-1, 4, 2)
    order = reading_order(quads)
    return OcrResult(
        quads[order].astype(np.float32),
        tuple(good[index].text for index in order),
        np.array([good[index].score for index in order], np.float32),
    )


def _squeezed(line: Pixels, size: tuple[int, int]) -> Pixels:
    """A line at the direction network's height, its width no more than that network's."""
    width = min(size[0], max(1, round(line.shape[1] * size[1] / line.shape[0])))
    if (width, size[1]) == line.shape[1::-1]:
        return line
    return np.asarray(Image.fromarray(line).resize((width, size[1]), Image.Resampling.BILINEAR))


def _parts(contract: Contract) -> dict[str, Part]:
    """By name. Raises ContractInvalid for others than this task calls."""
    parts = {part.name: part for part in contract.parts}
    if {DETECT, READ} - parts.keys() or parts.keys() - {DETECT, DIRECT, READ}:
        raise ContractInvalid(
            f"{contract.model}: text recognition calls other networks",
            observed=", ".join(parts),
            expected=f"networks {DETECT} and {READ}, and {DIRECT} where lines may stand on their heads",
        )
    wrong = {
        f"{READ}.labels: one per output, the first is the blank": len(parts[READ].labels) < 2,
        f"{READ}.sizes: one height, and widths that differ": parts[READ].height < 1 or parts[READ].width != 0,
        f"{DETECT}.sizes: heights and widths that differ": (parts[DETECT].height, parts[DETECT].width) != (0, 0),
        f"{DIRECT}.sizes: one height and one width": DIRECT in parts
        and 0 in (parts[DIRECT].height, parts[DIRECT].width),
    }
    for expected, is_wrong in wrong.items():
        if is_wrong:
            raise ContractInvalid(f"{contract.model}: a network of text recognition does not fit", expected=expected)
    return parts
