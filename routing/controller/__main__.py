"""``python -m routing.controller SETTINGS.json``: what the supervisor keeps alive while a rollout runs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from routing.controller.process import run
from routing.controller.store_book import open_book
from slipway.errors import SlipwayError
from slipway.settings import Settings

#: Ended by a signal.
_STOPPED = 128 + signal.SIGTERM


def main(settings_file: Path) -> int:
    """Runs until it is stopped; returns the exit code: 0 says that there is nothing more to do, and the supervisor
    starts no other."""
    settings = Settings.model_validate_json(settings_file.read_text(encoding="utf-8"))
    try:
        finished = run(settings, open_book)
    except SlipwayError as problem:
        sys.stderr.write(f"error {problem.code}: {problem}\n")
        return problem.exit_code
    return 0 if finished else _STOPPED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
