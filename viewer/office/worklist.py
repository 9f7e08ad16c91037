"""The list of work records: filter, search, keyset pagination.

Every query starts in an index at the cursor: the hundred-thousandth record is as fast as the first.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, joinedload

from viewer.extensions import db
from viewer.models import (
    STATUSES,
    Conversation,
    MediaAttachment,
    MediaLink,
    Term,
    WorkEntry,
    WorkRecord,
)
from viewer.models.indexes import beyond, condition_on
from viewer.models.searching import as_fts5, as_tsquery

Kind = WorkRecord.Kind
Status = WorkRecord.Status

PAGE = 40
FEW = 2_000  # up to so many matches are sorted
OPEN, ALL, ARCHIVED = "open", "all", "archived"
Key = tuple[Any, ...]  # the keyset cursor: a record's values of `Wanted.sort_key`


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filters of the list."""

    kind: Kind | None = None  # None: all kinds
    show: str = OPEN  # OPEN, ALL, ARCHIVED or a status of the kind
    terms: Sequence[Term] | None = None  # search terms; an empty sequence matches nothing
    conversation: Conversation | None = None

    @property
    def is_by_visit(self) -> bool:
        """Whether to sort by appointment time; otherwise by creation, newest first."""
        return self.kind is Kind.APPOINTMENT and self.show != ARCHIVED and self.terms is None

    @property
    def sort_key(self) -> tuple[InstrumentedAttribute[Any], ...]:
        """The sort columns; their values in a page's last record are the next cursor."""
        if self.terms is not None:
            return (WorkEntry.id,)
        moment = WorkRecord.starts_at if self.is_by_visit else WorkRecord.created_at
        return moment, WorkRecord.id

    @property
    def is_upwards(self) -> bool:
        """Whether to sort ascending: planned appointments, soonest first."""
        return self.is_by_visit and self.show in (OPEN, Status.PLANNED)


@dataclass(frozen=True, slots=True)
class Page:
    records: Sequence[WorkRecord]
    last: Key | None  # cursor of its last record; None: there is no next page


def filter_choices(kind: Kind | None) -> tuple[str, ...]:
    """The allowed values of `show`."""
    return (OPEN, *(STATUSES[kind] if kind else ()), ALL, ARCHIVED)


def read_page(wanted: Wanted, after: Key | None = None) -> Page:
    """The first page, or the one after this cursor."""
    query = _narrow_query(wanted)
    if wanted.terms is not None:
        query = _search_query(query, wanted.terms, after)
    else:
        query = _order_query(query, wanted, after)
    rows = db.session.execute(
        query.options(joinedload(WorkRecord.conversation)).limit(PAGE + 1)
    ).all()
    found = [row[0] for row in rows[:PAGE]]
    if len(rows) <= PAGE:
        return Page(found, None)
    if wanted.terms is not None:
        return Page(found, (rows[PAGE - 1].entry_id,))
    return Page(found, tuple(getattr(found[-1], column.key) for column in wanted.sort_key))


def count_files(records: Sequence[WorkRecord]) -> dict[uuid.UUID, dict[str, int]]:
    """Media counts by record id and by word (photo, voicemail, other file), in one query."""
    media = MediaAttachment
    rows = db.session.execute(
        sa.select(MediaLink.record_id, media.media_type, media.role, sa.func.count())
        .join(MediaLink.media)
        .where(
            MediaLink.record_id.in_([record.id for record in records]),
            media.state != media.State.TRASHED,
        )
        .group_by(MediaLink.record_id, media.media_type, media.role)
        .order_by(media.media_type.desc())  # photos before sounds
    )
    found: dict[uuid.UUID, dict[str, int]] = {}
    for record_id, media_type, role, count in rows:
        of_record = found.setdefault(record_id, {})
        word = (
            "photo"
            if media_type is media.MediaType.PHOTO
            else "voicemail"
            if role is media.Role.VOICEMAIL
            else "other file"
        )
        of_record[word] = of_record.get(word, 0) + count
    return found


def _narrow_query(wanted: Wanted) -> sa.Select[Any]:
    query: sa.Select[Any] = sa.select(WorkRecord)
    if wanted.kind is not None:
        query = query.where(WorkRecord.kind == wanted.kind)
    if wanted.conversation is not None:
        query = query.where(WorkRecord.conversation_id == wanted.conversation.id)
    # Use the literal conditions of the partial indexes: SQLite matches them term by term.
    if wanted.show == ARCHIVED:
        query = query.where(_ARCHIVED)
    elif wanted.show == OPEN and wanted.is_by_visit:  # has an index of its own, in this order
        query = query.where(WorkRecord.status == Status.PLANNED, _NOT_ARCHIVED)
    elif wanted.show == OPEN:
        query = query.where(_TO_DO)
    elif wanted.show != ALL:
        query = query.where(WorkRecord.status == Status(wanted.show), _NOT_ARCHIVED)
    return query


_ARCHIVED, _NOT_ARCHIVED, _TO_DO = (
    condition_on(WorkRecord, condition)
    for condition in (WorkRecord.ARCHIVED, WorkRecord.NOT_ARCHIVED, WorkRecord.TO_DO)
)


def _order_query(query: sa.Select[Any], wanted: Wanted, after: Key | None) -> sa.Select[Any]:
    columns, forward = wanted.sort_key, wanted.is_upwards
    query = query.order_by(*(one if forward else one.desc() for one in columns))
    return query if after is None else query.where(beyond(columns, after, forward=forward))


def _search_query(
    query: sa.Select[Any], terms: Sequence[Term], after: Key | None
) -> sa.Select[Any]:
    """Newest first: newer records have higher entry ids."""
    entry_id: sa.ColumnElement[Any] = sa.type_coerce(WorkEntry.id, sa.BigInteger)
    query = query.join(WorkEntry, WorkEntry.record_id == WorkRecord.id)
    if not terms:  # the query held only punctuation
        query = query.where(sa.false())
    elif db.engine.dialect.name == "sqlite":
        # JOIN, not IN: FTS5 then yields matches one by one, newest first, and the query stops
        # after one page.
        full_text = sa.table("work_words", sa.column("rowid", sa.Integer))
        entry_id = full_text.c.rowid
        query = query.join(full_text, entry_id == WorkEntry.id).where(
            sa.literal_column("work_words").bool_op("MATCH")(as_fts5(terms))
        )
    else:
        query = query.where(_match_condition(terms))
    if after is not None:
        query = query.where(entry_id < after[0])
    return query.add_columns(entry_id.label("entry_id")).order_by(entry_id.desc())


def _match_condition(terms: Sequence[Term]) -> sa.ColumnElement[bool]:
    """The match condition for PostgreSQL, whose planner cannot estimate a prefix's frequency.

    Up to FEW matches are taken from the GIN index and sorted. With more, scanning the entries from
    the newest on soon fills a page; sorting all matches took seconds. (`||` disables the index.)
    """
    asked = sa.func.to_tsquery(sa.literal_column("'simple'"), as_tsquery(terms))
    said: sa.ColumnElement[Any] = sa.literal_column("work_entries.work_words")
    few = db.session.scalars(
        sa.select(WorkEntry.id).where(said.bool_op("@@")(asked)).limit(FEW + 1)
    ).all()
    if len(few) <= FEW:
        return WorkEntry.id.in_(few)
    unindexed: sa.ColumnElement[Any] = sa.literal_column(
        "(work_entries.work_words || ''::tsvector)"
    )
    return unindexed.bool_op("@@")(asked)
