"""Envoy's log lines become fields."""

import pytest

from serving.edge.log_lines import parse


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("[error][lua] script log: edge script failed: [string]:1: x", "error", "edge script failed: [string]:1: x"),
        ("[warning][main] There is no configured limit", "warning", "There is no configured limit"),
        ("[critical][backtrace] Caught Segmentation fault", "critical", "Caught Segmentation fault"),
        ("[assert][main] never seen", "critical", "never seen"),
    ],
)
def test_envoys_own_line(line: str, level: str, message: str) -> None:
    fields = parse(line)
    assert (fields["level"], fields["message"]) == (level, message)
    assert fields["source"] == line.split("[")[2].split("]")[0]


def test_anything_else_is_kept_as_it_is() -> None:
    assert parse("terminate called") == {"level": "warning", "message": "terminate called"}
