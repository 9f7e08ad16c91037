"""A row in every table, for tests of what happens to all of them."""

import uuid
from datetime import date
from typing import Any

import sqlalchemy as sa

from viewer.extensions import UtcDateTime, db, now


def fill() -> None:
    """A row in every table, each with the one that it needs of the others."""
    values: dict[str, dict[str, Any]] = {}
    with db.engine.begin() as connection:
        for table in db.metadata.sorted_tables:
            row = values[table.name] = {}
            for column in table.columns:
                other = next((key.column for key in column.foreign_keys), None)
                if str(column) == "search_entries.conversation_id":
                    continue  # an entry is of a message or of a conversation
                if other is not None and other.table.name in values:
                    row[column.name] = values[other.table.name].get(other.name)
                elif not column.nullable and column.default is None and not _is_counted(column):
                    row[column.name] = _something(column.type)
            kept = connection.execute(table.insert().values(row))
            row |= kept.inserted_primary_key._asdict()


def _is_counted(column: sa.Column[Any]) -> bool:
    return column.primary_key and isinstance(column.type, sa.Integer)


def _something(kind: sa.types.TypeEngine[Any]) -> Any:
    if isinstance(kind, UtcDateTime):
        return now()
    if isinstance(kind, sa.Enum):
        return kind.python_type[kind.enums[0].upper()] if kind.enum_class else kind.enums[0]
    return {
        str: "x", int: 1, float: 1.0, bool: False, bytes: b"x", date: now().date(),
        dict: {}, list: [], uuid.UUID: uuid.uuid4(),
    }[kind.python_type]  # fmt: skip
