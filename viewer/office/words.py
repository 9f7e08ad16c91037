"""Words that both databases find alike: folded, and looked up by how they begin."""

import re
import unicodedata
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR

from viewer.extensions import db
from viewer.models import SearchEntry, WorkEntry

MOST, LONGEST = 8, 40  # terms of a search, characters of a term


def fold(text: str) -> str:
    """Lower case, no accents, nothing but letters and digits between single spaces.

    The databases part words at different signs; what has none they part alike.
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return " ".join(re.findall(r"[^\W_]+", plain))


def terms(typed: str) -> list[str]:
    return [term[:LONGEST] for term in fold(typed[:400]).split()[:MOST]]


def full_text(table: type[SearchEntry] | type[WorkEntry]) -> sa.TableClause:
    """SQLite's index of this table's words; its rowid is the entry's id."""
    name = "search_words" if table is SearchEntry else "work_words"
    return sa.table(name, sa.column("rowid", sa.Integer))


def match(table: type[SearchEntry] | type[WorkEntry], terms: list[str]) -> sa.ColumnElement[bool]:
    """Whether an entry has, for each of these terms, a word that begins so.

    On SQLite a condition for a query that reads or joins `full_text(table)`.
    """
    if db.engine.dialect.name == "sqlite":
        phrase = " ".join(f'"{term}"*' for term in terms)
        return sa.literal_column(full_text(table).name).bool_op("MATCH")(phrase)
    return document(table).bool_op("@@")(asked(terms))


def document(table: type[SearchEntry] | type[WorkEntry]) -> sa.ColumnElement[Any]:
    """PostgreSQL's lexemes of an entry, said as its index says it."""
    if table is SearchEntry:
        return sa.func.to_tsvector(sa.literal_column("'simple'"), SearchEntry.words)
    return sa.literal_column("work_entries.work_words", TSVECTOR)


def asked(terms: list[str]) -> sa.ColumnElement[Any]:
    """The terms as PostgreSQL wants them."""
    words = " & ".join(f"{term}:*" for term in terms)
    return sa.func.to_tsquery(sa.literal_column("'simple'"), words)
