"""What the hostile images are made of: small copies of a real photograph, and what must become of each."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from tests.handlers.pictures import picture

#: Must be refused; must be answered, however odd; or either, where damage may leave a picture that decodes.
FAIL, ANSWER, EITHER = "fail", "answer", "either"
Case = tuple[str, str, bytes]
SIZE = (64, 48)


def photograph(size: tuple[int, int] = SIZE) -> Image.Image:
    return picture("chelsea.png").convert("RGB").resize(size)


def encoded(file_format: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    photograph(size).convert(mode).save(stream, file_format, **options)
    return stream.getvalue()
