"""Many rows at once: copied into a temporary table, then into their place, where those that are there already stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

#: Column types differ from text only where COPY cannot know them; a table LIKE the target brings them along.
_INCOMING = "CREATE TEMP TABLE IF NOT EXISTS incoming_{table} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"


def copy_new(connection: Connection, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]], key: int) -> None:
    """Puts those of ``rows`` whose key is new into ``table``, and the same ones into ``incoming_<table>``.

    ``key``: how many of ``columns``, from the first, are the key. The table's name and columns are ours, never input.
    """
    unique = list({row[:key]: row for row in reversed(rows)}.values())
    connection.execute(text(_INCOMING.format(table=table)))
    connection.execute(text(f"TRUNCATE incoming_{table}"))
    names = ", ".join(f'"{name}"' for name in columns)
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY incoming_{table} ({names}) FROM STDIN") as copy:
        for row in unique:
            copy.write_row(row)
    cursor.close()
    same = " AND ".join(f'old."{name}" = new."{name}"' for name in columns[:key])
    # OFFSET 0: looked up by key for each row, never joined (see ingest.py).
    there = f"SELECT 1 FROM {table} old WHERE {same} OFFSET 0"  # noqa: S608
    connection.execute(text(f"DELETE FROM incoming_{table} new WHERE EXISTS ({there})"))  # noqa: S608
    connection.execute(text(f"INSERT INTO {table} SELECT * FROM incoming_{table}"))  # noqa: S608
