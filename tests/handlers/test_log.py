"""Log lines are one JSON object each."""

from __future__ import annotations

import json
import logging

import pytest

from handlers.log import JsonFormatter, json_logger


def test_fields_and_traceback_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logger = json_logger("slipway.handlers.test_log")
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        logger.error("request failed", extra={"fields": {"request_id": "ü1"}}, exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    values = json.loads(line)
    assert (values["level"], values["event"], values["request_id"]) == ("error", "request failed", "ü1")
    assert "ValueError: two\nlines" in values["traceback"]


def test_the_same_logger_is_made_once() -> None:
    assert len(json_logger("slipway.handlers.once").handlers) == len(json_logger("slipway.handlers.once").handlers) == 1
    record = logging.LogRecord("name", logging.INFO, "", 0, "event %d", (1,), None)
    assert json.loads(JsonFormatter().format(record))["event"] == "event 1"
