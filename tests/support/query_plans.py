"""How SQLite would answer the queries of media attachments that are asked meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


@contextmanager
def noted_plans() -> Iterator[dict[str, list[str]]]:
    """The plan of each such query, by its text; of any database."""
    asked: dict[str, list[str]] = {}

    def note(
        connection: Any, _cursor: Any, text: str, values: Any, _context: Any, _many: bool
    ) -> None:
        if text.startswith("SELECT") and "FROM media_attachments" in text and text not in asked:
            asked[text] = []  # the question below comes by here, too
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            asked[text] = [row[3] for row in rows]

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
