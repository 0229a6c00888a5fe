"""Answers several requests from one run of the pipeline: what an engine adapter does between reading and replying.

A request is answered by named output tensors, or by the one error that it is. Nothing here knows an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from handlers.pipeline import Answer, Pipeline
from handlers.wire import ERRORS_OUTPUT, errors_column
from slipway.errors import ImageError, NetworkFailed, SlipwayError

Tensors = Mapping[str, "npt.NDArray[Any]"]


@dataclass(frozen=True)
class Question:
    """One checked request: its encoded images and how many results each of them gets."""

    images: list[bytes]
    top_k: int


def answer(pipeline: Pipeline, questions: Sequence[Question]) -> list[Tensors | SlipwayError]:
    """One reply per question, in order; all their images go through the network together.

    A question whose images all failed is answered with its first image's error. When the network fails, each question
    is tried alone, so that nobody pays for another's image (half precision may overflow on one picture only).
    """
    try:
        return _together(pipeline, questions)
    except NetworkFailed as error:
        if len(questions) == 1:
            return [error]
        return [reply for question in questions for reply in answer(pipeline, [question])]
    except SlipwayError as error:  # the server behind is away: asking again for each question would only add to it
        return [error] * len(questions)


def _together(pipeline: Pipeline, questions: Sequence[Question]) -> list[Tensors | SlipwayError]:
    images = [image for question in questions for image in question.images]
    answers = pipeline.run(images, [question.top_k for question in questions for _ in question.images])
    replies: list[Tensors | SlipwayError] = []
    for question in questions:
        own, answers = answers[: len(question.images)], answers[len(question.images) :]
        replies.append(_reply(pipeline, own, question.top_k))
    return replies


def _reply(pipeline: Pipeline, answers: Sequence[Answer], top_k: int) -> Tensors | SlipwayError:
    failed = [found for found in answers if isinstance(found, ImageError)]
    if len(failed) == len(answers):
        return failed[0]
    good = [None if isinstance(found, ImageError) else found for found in answers]
    return {**pipeline.task.pack(good, top_k), ERRORS_OUTPUT: errors_column(answers)}
