"""The `slipway` command. It only composes rooms, and imports each of them when a command needs it.

Exit codes are in docs/errors.md: 0 done, 1 failed (a gate, a benchmark, a server), 2 wrong usage, 3 bad input,
4 not found, 5 not running, 6 the environment lacks something.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from slipway.errors import EXIT_FAILED, SlipwayError


def main() -> None:
    """Entry point of the console script: every error becomes a message and an exit code, never a traceback."""
    # imported here: a broken installation should still print a SlipwayError below
    from slipway.cli.app import app

    as_json = "--json" in sys.argv
    # as an interrupt: what a command started (a compiler, a builder) ends with it, and its workspace is removed
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except SlipwayError as error:
        _report(error, as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output went away (`slipway versions | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        path = _save_traceback()
        unexpected = SlipwayError(
            f"unexpected {type(error).__name__}: {error}",
            fix=f"this is a defect of Slipway; the traceback is in {path}: please report it",
        )
        _report(unexpected, as_json)
        sys.exit(EXIT_FAILED)


def _terminated(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _report(error: SlipwayError, as_json: bool) -> None:
    from slipway.cli.output import print_error

    print_error(error, as_json)


def _save_traceback() -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="slipway-", suffix=".traceback", delete=False) as stream:
        stream.write(traceback.format_exc())
    return stream.name
