"""The list of work: narrowed, searched, a page at a time, however much of it there is.

Every question has an index that begins where the page begins: the list is as quick with the
hundred-thousandth record as with the first.
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
FEW = 2_000  # matches that are soon sorted
OPEN, ALL, ARCHIVED = "open", "all", "archived"
Key = tuple[Any, ...]  # the values of `Wanted.sort_key` in a record


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to see of the work."""

    kind: Kind | None = None  # None: all of them
    show: str = OPEN  # OPEN, ALL, ARCHIVED or a status of the kind
    terms: Sequence[Term] | None = None  # what must be said of it; none at all: nothing is
    conversation: Conversation | None = None

    @property
    def is_by_visit(self) -> bool:
        """Whether the order is that of the calendar; else the newest record comes first."""
        return self.kind is Kind.APPOINTMENT and self.show != ARCHIVED and self.terms is None

    @property
    def sort_key(self) -> tuple[InstrumentedAttribute[Any], ...]:
        """Columns of the order; their values in a page's last record begin the next page."""
        if self.terms is not None:
            return (WorkEntry.id,)
        moment = WorkRecord.starts_at if self.is_by_visit else WorkRecord.created_at
        return moment, WorkRecord.id

    @property
    def is_upwards(self) -> bool:
        """What is still to come is read from today on, everything else from its end."""
        return self.is_by_visit and self.show in (OPEN, Status.PLANNED)


@dataclass(frozen=True, slots=True)
class Page:
    records: Sequence[WorkRecord]
    last: Key | None  # of its last record; None: there is no next page


def filter_choices(kind: Kind | None) -> tuple[str, ...]:
    """What `show` may be."""
    return (OPEN, *(STATUSES[kind] if kind else ()), ALL, ARCHIVED)


def read_page(wanted: Wanted, after: Key | None = None) -> Page:
    """The first page, or the one after the record with this key."""
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
    """How many photos and voicemails each of these has, by one query."""
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
    # As the partial indexes say it: SQLite takes an index only for the very same words.
    if wanted.show == ARCHIVED:
        query = query.where(_ARCHIVED)
    elif wanted.show == OPEN and wanted.is_by_visit:  # the visits' own index knows their order
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
    """The newest first: their entries have the highest ids."""
    entry_id: sa.ColumnElement[Any] = sa.type_coerce(WorkEntry.id, sa.BigInteger)
    query = query.join(WorkEntry, WorkEntry.record_id == WorkRecord.id)
    if not terms:  # nothing but signs, which nobody's words have
        query = query.where(sa.false())
    elif db.engine.dialect.name == "sqlite":
        # Joined, not IN: the full text then gives one match after another, newest first, and
        # nobody reads more of them than the page has room for.
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
    """The same for PostgreSQL, which cannot know how common a word is that begins like this.

    Few matches are taken from the index and sorted. Of many, the newest are soon found by going
    through the entries from the newest on; sorting them all took seconds. (`||` keeps the index
    out of it.)
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
