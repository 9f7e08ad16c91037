"""Everything that is held about a number: for the customer who asks, and before they are forgotten.

Rows are given column by column, as they are, so that nothing is left out that a later version adds.
What tells of staff stays out: who did something, and from where.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from viewer import quo
from viewer.extensions import Model, db, now
from viewer.models import (
    AuditEntry,
    Contact,
    Conversation,
    ConversationAlias,
    Evidence,
    EvidenceItem,
    Forgetting,
    MediaAttachment,
    MediaLink,
    Message,
    Share,
    ShareItem,
    WebhookEvent,
    WorkRecord,
)
from viewer.office import audit
from viewer.office.forgetting import Held, held_of

# A secret, or what is about one of us.
_LEFT_OUT = {
    "fingerprint", "passphrase_hash", "created_by_id", "taken_by", "trashed_by", "user_id", "who",
    "address", "asked_by", "revoked_by", "body",
}  # fmt: skip


@dataclass
class Disclosure:
    """What is handed out: rows by table, files by name, deliveries as they arrived."""

    number: str
    names: list[str]
    made_at: datetime
    rows: dict[str, list[dict[str, Any]]]
    files: list[tuple[MediaAttachment, str]] = field(default_factory=list)
    deliveries: list[tuple[str, bytes]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)  # oldest first, with their files

    def data(self) -> str:
        """All of it for programs, as JSON."""
        told = {
            "number": self.number,
            "names": self.names,
            "made_at": self.made_at.isoformat(),
            "file_names": {str(media.id): name for media, name in self.files},
            "counts": {name: len(rows) for name, rows in self.rows.items()},
            **self.rows,
        }
        return json.dumps(told, indent=1, ensure_ascii=False, default=_plain) + "\n"


def disclose(number: str) -> Disclosure | None:
    """Gather what is held about this canonical number; None if that is nothing. Does not commit.

    Of groups it is the whole conversation: they took part in it, and have read it.
    """
    held = held_of(number)
    if held.is_empty():
        return None
    messages = db.session.scalars(
        sa.select(Message)
        .where(Message.conversation_id.in_(held.groups) | held.messages())
        .options(selectinload(Message.media))
        .order_by(Message.sent_at, Message.id)
    ).all()
    media = [one for message in messages for one in message.media]
    made = Disclosure(number, held.names, now(), {}, messages=list(messages))
    made.files = [(one, _file_name(one)) for one in media]
    work = _records(held)
    shares = _all(Share, Share.id.in_(_of_media(ShareItem.share_id, ShareItem.media_id, media)))
    shares += [
        one
        for one in _all(Share, Share.record_id.in_([row.id for row in work]))
        if one not in shares
    ]
    evidence = _all(Evidence, Evidence.record_id.in_([row.id for row in work]))
    subjects = [*held.own, *_ids(messages), *_ids(media), *_ids(work), *_ids(shares)]
    events = _events(held.contacts, messages)
    made.deliveries = [(f"{one.id}.json", one.body) for one in events if one.body]
    made.rows = {
        "conversations": _told(_all(Conversation, Conversation.id.in_([*held.own, *held.groups]))),
        "conversation_aliases": _told(
            _all(ConversationAlias, ConversationAlias.conversation_id.in_(held.own))
        ),
        "contacts": _told(held.contacts),
        "messages": _told(messages),
        "files": _told(media),
        "work_records": _told(work),
        "links": _told(_all(MediaLink, MediaLink.media_id.in_(_ids(media)))),
        "evidence": _told(evidence),
        "evidence_items": _told(_all(EvidenceItem, EvidenceItem.evidence_id.in_(_ids(evidence)))),
        "shares": _told(shares),
        "share_items": _told(_all(ShareItem, ShareItem.media_id.in_(_ids(media)))),
        "deliveries": _told(events),
        "forgettings": _told(_all(Forgetting, Forgetting.number == number)),
        "audit_entries": _told(_all(AuditEntry, AuditEntry.subject_id.in_(subjects))),
    }
    return made


def note_disclosure(made: Disclosure) -> None:
    """Record that it was handed out, without saying whom it is about. Does not commit."""
    conversation = next(iter(made.rows["conversations"]), None)
    subject = ("conversation", conversation["id"]) if conversation else None
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in made.rows.items() if rows)
    audit.note("customer.export", counts, subject=subject)


def _records(held: Held) -> list[WorkRecord]:
    return _all(WorkRecord, WorkRecord.conversation_id.in_(held.own))


def _of_media(column: Any, media_id: Any, media: Sequence[MediaAttachment]) -> sa.Select[Any]:
    return sa.select(column).where(media_id.in_(_ids(media)))


def _events(contacts: Sequence[Contact], messages: Sequence[Message]) -> list[WebhookEvent]:
    told_of = [one.provider_id for one in messages] + [one.provider_id for one in contacts]
    return sorted(
        _all(WebhookEvent, WebhookEvent.tells_of.in_(told_of)),
        key=lambda one: (one.received_at, str(one.id)),
    )


def _all(model: Any, condition: sa.ColumnElement[bool]) -> list[Any]:
    return list(db.session.scalars(sa.select(model).where(condition)))


def _ids(rows: Iterable[Any]) -> list[uuid.UUID]:
    return [row.id for row in rows]


def _told(rows: Iterable[Model]) -> list[dict[str, Any]]:
    return [
        {
            column.name: getattr(row, column.name)
            for column in row.__table__.columns
            if column.name not in _LEFT_OUT or isinstance(row, Message)
        }
        for row in rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _file_name(media: MediaAttachment) -> str:
    """files/2026-09-21 141319 photo 1f88ca59.jpg"""
    ending = media.file_path.rpartition(".")[2]
    return (
        f"files/{media.sent_at:%Y-%m-%d %H%M%S} {media.media_type.value}"
        f" {str(media.id)[:8]}.{ending}"
    )


def display_of(made: Disclosure) -> str:
    return ", ".join([*made.names, quo.display(made.number)])
