"""Answers several requests from one run of the pipeline: what an engine adapter does between reading and replying.

A request is answered by named output tensors, or by the one error that it is. Nothing here knows an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


#: Called with a question's position and what was found for it, before it is made tensors.
Note = Callable[[int, "list[Answer] | Exception"], None]


def answer(
    pipeline: Pipeline, questions: Sequence[Question], note: Note = lambda index, found: None
) -> list[Tensors | Exception]:
    """One reply per question, in order, as :func:`answers` finds them.

    A question whose images all failed is answered with its first image's error.
    """
    found = answers(pipeline, questions)
    for index, reply in enumerate(found):
        note(index, reply)
    return [
        reply if isinstance(reply, Exception) else _tensors(pipeline, reply, question.options)
        for reply, question in zip(found, questions, strict=True)
    ]


def answers(pipeline: Pipeline, questions: Sequence[Question]) -> list[list[Answer] | Exception]:
    """One answer per image of each question, in order; all their images go through the network together. Raises
    nothing: an exception that is no SlipwayError is a bug's, in the place of the question that it concerns.

    When the network or this code fails, each question is tried alone, so that nobody pays for another's image (half
    precision may overflow on one picture only, or memory not suffice for one).
    """
    try:
        return _together(pipeline, questions)
    except Exception as error:
        # the server behind is away: asking again for each question would only add to it
        away = isinstance(error, SlipwayError) and not isinstance(error, NetworkFailed)
        if away or len(questions) <= 1:
            return [error] * len(questions)
    # after the exception is gone, and with it the pictures that its frames hold
    return [reply for question in questions for reply in answers(pipeline, [question])]


def _together(pipeline: Pipeline, questions: Sequence[Question]) -> list[list[Answer] | Exception]:
    images = [image for question in questions for image in question.images]
    options = [question.options for question in questions for _ in question.images]
    found = iter(pipeline.run(images, options))
    return [[next(found) for _ in question.images] for question in questions]


def _tensors(pipeline: Pipeline, found: Sequence[Answer], options: Any) -> Tensors | Exception:
    failed = [answer for answer in found if isinstance(answer, ImageError)]
    if len(failed) == len(found):
        return failed[0]
    task = pipeline.task
    try:
        records = [None if isinstance(answer, ImageError) else answer.record() for answer in found]
        return {**pack(task.fields, records, task.width(options)), ERRORS_OUTPUT: errors_column(found)}
    except Exception as error:  # a record that is not what its fields say: nobody else's concern
        return error
