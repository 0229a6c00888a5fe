"""Answers several requests from one run of the pipeline: what an engine adapter does between reading and replying.

A request is answered by named output tensors, or by the one error that it is. Nothing here knows an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.fields import Tensors, pack
from handlers.pipeline import Answer, Pipeline
from handlers.wire import ERRORS_OUTPUT, errors_column
from slipway.errors import ImageError, NetworkFailed, SlipwayError


@dataclass(frozen=True)
class Question:
    """One checked request: its encoded images and what the task made of its parameters."""

    images: list[bytes]
    options: Any


def answer(pipeline: Pipeline, questions: Sequence[Question]) -> list[Tensors | SlipwayError]:
    """One reply per question, in order, as :func:`answers` finds them.

    A question whose images all failed is answered with its first image's error.
    """
    found = answers(pipeline, questions)
    return [
        reply if isinstance(reply, SlipwayError) else _tensors(pipeline, reply, question.options)
        for reply, question in zip(found, questions, strict=True)
    ]


def answers(pipeline: Pipeline, questions: Sequence[Question]) -> list[list[Answer] | SlipwayError]:
    """One answer per image of each question, in order; all their images go through the network together.

    When the network fails, each question is tried alone, so that nobody pays for another's image (half precision may
    overflow on one picture only).
    """
    try:
        return _together(pipeline, questions)
    except NetworkFailed as error:
        if len(questions) == 1:
            return [error]
        return [reply for question in questions for reply in answers(pipeline, [question])]
    except SlipwayError as error:  # the server behind is away: asking again for each question would only add to it
        return [error] * len(questions)


def _together(pipeline: Pipeline, questions: Sequence[Question]) -> list[list[Answer] | SlipwayError]:
    images = [image for question in questions for image in question.images]
    options = [question.options for question in questions for _ in question.images]
    found = iter(pipeline.run(images, options))
    return [[next(found) for _ in question.images] for question in questions]


def _tensors(pipeline: Pipeline, found: Sequence[Answer], options: Any) -> Tensors | SlipwayError:
    failed = [answer for answer in found if isinstance(answer, ImageError)]
    if len(failed) == len(found):
        return failed[0]
    records = [None if isinstance(answer, ImageError) else answer.record() for answer in found]
    task = pipeline.task
    return {**pack(task.fields, records, task.width(options)), ERRORS_OUTPUT: errors_column(found)}
