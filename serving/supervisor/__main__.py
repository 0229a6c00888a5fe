"""``python -m serving.supervisor SETTINGS.json``: what a detached start runs. Errors go to ``start-error.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from serving.supervisor.supervisor import Supervisor
from slipway.errors import SlipwayError
from slipway.files import write_atomically
from slipway.settings import Settings

ERROR_FILE = "start-error.json"


def main(settings_file: Path) -> int:
    """Runs until it is stopped; returns the exit code."""
    settings = Settings.model_validate_json(settings_file.read_text(encoding="utf-8"))
    try:
        Supervisor(settings).run()
    except SlipwayError as problem:
        write_atomically(settings.state_dir / ERROR_FILE, json.dumps(problem.to_dict()))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
