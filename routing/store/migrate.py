"""Brings the tables up to date, by Alembic, in one transaction; several processes may do so at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

#: One number for all processes, so that they migrate one after the other (pg_advisory_xact_lock).
_LOCK = 0x736C6970


def migrate(engine: Engine, until: str = "head") -> None:
    """Runs every migration that the database lacks, up to the revision ``until``. Raises SQLAlchemy's errors."""
    config = Config()
    # A `%` would be taken for an interpolation by the ini format behind it.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, until)
