"""Read the lines of a manifest, a batch of rows at a time, however many there are."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from viewer.models import (
    Conversation,
    Evidence,
    EvidenceItem,
    MediaAttachment,
    MediaLink,
    Message,
    WorkRecord,
)
from viewer.models.media import availability_of
from viewer.upkeep.export.lines import Line, LinkedWork, outcome_of

BATCH = 1000  # rows of one query

State = MediaAttachment.State


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to be exported, and what is left out."""

    files: int
    damaged: int  # the bytes are not those that came
    trashed: int


def survey(connection: sa.Connection) -> Survey:
    query = sa.select(
        *(
            sa.select(sa.func.count())
            .select_from(MediaAttachment.__table__)
            .where(which)
            .scalar_subquery()
            for which in (
                _media.state == State.STORED,
                MediaAttachment.is_in("open") & (_media.state == State.DAMAGED),
                MediaAttachment.is_in("trash") & _media.purged_at.is_(None),
            )
        )
    )
    return Survey(*connection.execute(query).one())


Row = sa.Row[*tuple[Any, ...]]
# The address of an original's bytes, by its row's columns; None: it is not there.
AddressOf = Callable[[Row], str | None]


def read(connection: sa.Connection, address_of: AddressOf) -> Iterator[Line]:
    """The lines, sorted by id. The connection must show one state of the database throughout."""
    after = uuid.UUID(int=0)
    while rows := connection.execute(_ROWS, {"after": after}).all():
        span = {"after": after, "last": rows[-1].id}
        links, quotes = _links(connection, span), _quotes(connection, span)
        for row in rows:
            address = address_of(row)
            if address is not None:
                yield _line(row, address, links[row.id], quotes[row.id])
        after = rows[-1].id


def _line(row: Row, address: str, links: Sequence[LinkedWork], quotes: list[uuid.UUID]) -> Line:
    values = {name: getattr(row, name) for name in _AS_THEY_ARE}
    return Line.model_validate(
        values
        | {
            "key": row.file_path,
            "address": address,
            "kind": row.media_type,
            "availability": availability_of(row.state, row.trouble, None),
            "direction": row.direction,
            "stored_at": row.downloaded_at,
            "customer_id": row.customer_id,
            "is_not_needed": row.not_needed_at is not None,
            "outcome": outcome_of(links),
            "links": links,
            "priced_from": quotes,
        }
    )


def _links(
    connection: sa.Connection, span: dict[str, uuid.UUID]
) -> defaultdict[uuid.UUID, list[LinkedWork]]:
    """What each file of the batch is linked to."""
    found: defaultdict[uuid.UUID, list[LinkedWork]] = defaultdict(list)
    for row in connection.execute(_LINKS, span):
        values = row._mapping
        found[row.media_id].append(
            LinkedWork(
                **{name: values[name] for name in LinkedWork.model_fields if name in values},
                is_archived=row.archived_at is not None,
            )
        )
    return found


def _quotes(
    connection: sa.Connection, span: dict[str, uuid.UUID]
) -> defaultdict[uuid.UUID, list[uuid.UUID]]:
    """The quotes that were priced from each file of the batch."""
    found: defaultdict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for row in connection.execute(_QUOTES, span):
        found[row.media_id].append(row.record_id)
    return found


_media, _message, _conversation, _link, _record, _item, _evidence = (
    model.__table__.c
    for model in (
        MediaAttachment, Message, Conversation, MediaLink, WorkRecord, EvidenceItem, Evidence
    )
)  # fmt: skip
_AS_THEY_ARE = (
    "id", "sha256", "file_size", "mime_type", "role", "width", "height", "duration_seconds",
    "sent_at", "conversation_id", "message_id", "caption",
)  # fmt: skip
_AFTER = sa.bindparam("after", type_=sa.Uuid())
_LAST = sa.bindparam("last", type_=sa.Uuid())

# The id of the first conversation with the same people, on whichever line of ours: it stays while
# further ones begin, and nobody can tell a number from it, as from a hash of the number.
_first = aliased(Conversation)
_CUSTOMER = (
    sa.select(_first.id)
    .where(_first.participants == _conversation.participants, _conversation.participants != "")
    .order_by(_first.created_at, _first.id)
    .limit(1)
    .correlate(Conversation.__table__)
    .scalar_subquery()
)
_ROWS = (
    sa.select(
        *(_media[name] for name in _AS_THEY_ARE),
        _media.file_path, _media.media_type, _media.state, _media.trouble, _media.downloaded_at,
        _media.not_needed_at, _media.storage, _media.former_storage,
        _message.direction, _CUSTOMER.label("customer_id"),
    )
    .join_from(MediaAttachment.__table__, Message.__table__, _message.id == _media.message_id)
    .join(Conversation.__table__, _conversation.id == _media.conversation_id)
    .where(_media.state == State.STORED, _media.id > _AFTER)
    .order_by(_media.id)
    .limit(BATCH)
)  # fmt: skip
_LINKS = (
    sa.select(
        _link.media_id, _link.record_id, _link.position, _link.caption,
        _record.kind, _record.status, _record.archived_at, _record.amount, _record.visit,
        _record.sent_at, _record.starts_at, _record.due_on,
    )
    .join_from(MediaLink.__table__, WorkRecord.__table__, _record.id == _link.record_id)
    .where(_link.media_id > _AFTER, _link.media_id <= _LAST)
    .order_by(_link.media_id, _link.record_id)
)  # fmt: skip
_QUOTES = (
    sa.select(_item.media_id, _evidence.record_id)
    .distinct()
    .join_from(EvidenceItem.__table__, Evidence.__table__, _evidence.id == _item.evidence_id)
    .where(_item.media_id > _AFTER, _item.media_id <= _LAST)
    .order_by(_item.media_id, _evidence.record_id)
)
