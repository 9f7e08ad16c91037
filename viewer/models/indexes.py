"""Partial indexes: over the few rows of a table that a list or a job asks for.

SQLite takes such an index only for a query that says its condition in the very same words, without
parameters. So a condition is written once, as SQL, for the index and for the queries.
"""

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from viewer.extensions import Model


def partial_index(name: str, condition: str, *columns: str) -> sa.Index:
    where = sa.text(condition)
    return sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


def condition_on(model: type["Model"], condition: str) -> sa.ColumnElement[bool]:
    """The condition of a partial index, for a query that may also name other tables."""
    columns = "|".join(model.__table__.columns.keys())
    words = re.sub(rf"\b({columns})\b", rf"{model.__tablename__}.\1", condition)
    return sa.and_(sa.text(f"({words})"))
