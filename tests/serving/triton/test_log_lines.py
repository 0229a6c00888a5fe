"""Triton's log lines become fields."""

import json

from serving.triton.log_lines import parse


def test_tritons_own_line() -> None:
    line = '2026-11-21T01:23:33Z E 6218 main.cc:535] "failed to stop server"'
    assert parse(line) == {"level": "error", "message": "failed to stop server", "source": "main.cc:535"}


def test_noise_is_not_a_warning() -> None:
    line = '2026-11-21T01:23:33Z W 1 pinned.cc:1] "Unable to allocate pinned system memory"'
    assert parse(line)["level"] == "debug"
    assert parse("| Option | Value |")["level"] == "debug"


def test_a_handlers_line_keeps_its_fields() -> None:
    line = json.dumps({"time": "t", "level": "warning", "event": "request failed", "code": "IMAGE_EMPTY"})
    assert parse(line) == {
        "level": "warning",
        "message": "request failed",
        "code": "IMAGE_EMPTY",
        "source": "handlers",
    }


def test_anything_else_is_kept_as_it_is() -> None:
    for line in ("printed by a model", "{not json", "{}"):
        assert parse(line)["level"] == "info"
