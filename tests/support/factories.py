"""Customers, their files and their records as rows, for tests about where files belong."""

import hashlib
import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tests.support import homes
from viewer.extensions import db, now
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    Evidence,
    EvidenceItem,
    MediaAttachment,
    MediaLink,
    Message,
    WorkRecord,
)
from viewer.office import records

NOW = datetime(2026, 9, 21, 16, 0, tzinfo=UTC)  # noon in New York
_counter = itertools.count(2001)  # beyond the numbers that tests name themselves

Kind, Status = WorkRecord.Kind, WorkRecord.Status


def customer(number: str = "+16175550123", name: str = "") -> Conversation:
    conversation = Conversation(participants=number, latest_at=NOW)
    db.session.add(conversation)
    if name:
        first, _, last = name.partition(" ")
        contact = Contact(
            provider_id=f"CTtest-{uuid.uuid4()}",
            first_name=first,
            last_name=last,
            known_numbers=[number],
            numbers=[ContactNumber(number=number)],
            said={},
        )
        db.session.add(contact)
    db.session.commit()
    return conversation


def text(conversation: Conversation, at: datetime = NOW, **values: Any) -> Message:
    row = Message(
        **{
            "conversation_id": conversation.id,
            "provider_id": f"ACtest-{uuid.uuid4()}",
            "kind": Message.Kind.TEXT,
            "direction": Message.Direction.INCOMING,
            "sender": conversation.participants,
            "sent_at": at,
            "said": {},
            **values,
        }
    )
    db.session.add(row)
    db.session.commit()
    return row


def files(message: Message, count: int = 1, **values: Any) -> list[MediaAttachment]:
    """Stored photos that wait in the tray, unless `values` say otherwise."""
    rows = []
    for position in range(count):
        name = str(uuid.uuid4())
        rows.append(
            MediaAttachment(
                **{
                    "conversation_id": message.conversation_id,
                    "message_id": message.id,
                    "position": position,
                    "file_path": f"2026/09/21/617-555-0123/messages/{name}.jpg",
                    "file_stem": f"2026/09/21/617-555-0123/messages/{name}",
                    "source_key": name,
                    "mime_type": "image/jpeg",
                    "media_type": MediaAttachment.MediaType.PHOTO,
                    "state": MediaAttachment.State.STORED,
                    "sha256": hashlib.sha256(name.encode()).hexdigest(),
                    "storage": homes.own_id(),
                    "verified_at": now(),
                    "file_size": 48210,
                    "is_unfiled": message.is_incoming,
                    "sent_at": message.sent_at,
                    "said": {},
                    **values,
                }
            )
        )
    db.session.add_all(rows)
    db.session.commit()
    return rows


def voicemail(conversation: Conversation, at: datetime = NOW) -> MediaAttachment:
    call = text(conversation, at, kind=Message.Kind.CALL, has_voicemail=True)
    return files(
        call,
        role=MediaAttachment.Role.VOICEMAIL,
        media_type=MediaAttachment.MediaType.AUDIO,
        mime_type="audio/mpeg",
        duration_seconds=18.0,
        is_unfiled=False,
    )[0]


def photos(conversation: Conversation, count: int = 1, at: datetime = NOW) -> list[MediaAttachment]:
    return files(text(conversation, at), count)


def quote(conversation: Conversation, number: str | None = None, **values: Any) -> WorkRecord:
    return _record(
        conversation,
        Kind.QUOTE,
        **{"number": number or f"Q-{next(_counter)}", "status": Status.DRAFT, **values},
    )


def visit(conversation: Conversation, starts_at: datetime, **values: Any) -> WorkRecord:
    return _record(
        conversation,
        Kind.APPOINTMENT,
        **{"starts_at": starts_at, "status": Status.PLANNED, **values},
    )


def invoice(conversation: Conversation, number: str, **values: Any) -> WorkRecord:
    return _record(
        conversation, Kind.INVOICE, **{"number": number, "status": Status.DRAFT, **values}
    )


def link(record: WorkRecord, *media: MediaAttachment, caption: str | None = None) -> None:
    """Link these files to the record, in this order."""
    db.session.add_all(
        MediaLink(media_id=one.id, record_id=record.id, position=position, caption=caption)
        for position, one in enumerate(media)
    )
    db.session.commit()


def evidence(record: WorkRecord, media: MediaAttachment) -> Evidence:
    """A snapshot that holds this file, as if the quote had been sent."""
    kept = Evidence(record_id=record.id, number=record.number)
    kept.items.append(
        EvidenceItem(
            media_id=media.id,
            position=0,
            sha256=media.sha256,
            file_size=1,
            mime_type="image/jpeg",
            file_path=media.file_path,
            sent_at=NOW,
        )
    )
    db.session.add(kept)
    db.session.commit()
    return kept


def _record(conversation: Conversation, kind: WorkRecord.Kind, **values: Any) -> WorkRecord:
    said = {name: value for name, value in values.items() if name in records.FIELDS[kind] and value}
    row = records.create(kind, conversation, said)
    for name in values.keys() - said.keys():
        setattr(row, name, values[name])
    db.session.commit()
    return row


def days(count: float) -> timedelta:
    return timedelta(days=count)


def linked(record: WorkRecord) -> list[uuid.UUID]:
    """The files of a record, in its order, as the table has them now."""
    return _asked(MediaLink.media_id, record)


def order(record: WorkRecord) -> list[str]:
    """The record's links in their order."""
    return [str(one) for one in _asked(MediaLink.id, record)]


def _asked(column: Any, record: WorkRecord) -> list[uuid.UUID]:
    db.session.commit()
    found = db.session.scalars(
        sa.select(column).filter_by(record_id=record.id).order_by(MediaLink.position)
    ).all()
    db.session.commit()  # a server of the test's own may want to write
    return list(found)
