"""What is held about a number: its own conversations, and those of others that it takes part in."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    MediaAttachment,
    Message,
    WorkRecord,
)


@dataclass(frozen=True, slots=True)
class Held:
    """Where this customer is found."""

    number: str
    own: list[uuid.UUID]  # conversations with nobody else
    groups: list[uuid.UUID]  # in which others take part, who stay
    contacts: list[Contact]

    @property
    def names(self) -> list[str]:
        return sorted({one.name for one in self.contacts if one.name})

    @property
    def other_numbers(self) -> list[str]:
        """Further numbers of the same contacts: each is forgotten by itself."""
        found = {row.number for one in self.contacts for row in one.numbers}
        return sorted(found - {self.number})

    def messages(self, before: datetime | None = None) -> sa.ColumnElement[bool]:
        """Which messages are theirs: all of their own conversations, and what they sent to groups.

        `before`: only what was sent, or came, before.
        """
        theirs = Message.conversation_id.in_(self.own) | (Message.sender == self.number)
        if before is None:
            return theirs
        return theirs & ((Message.sent_at < before) | (Message.created_at < before))

    def is_empty(self) -> bool:
        return not (self.own or self.groups or self.contacts) and not db.session.scalar(
            sa.select(Message.id).filter_by(sender=self.number).limit(1)
        )

    def counts(self) -> dict[str, int]:
        """What is held, by kind, in the words of the receipt."""
        theirs, kinds = self.messages(), Message.Kind
        ids = sa.select(Message.id).where(theirs)
        return {
            "texts": _count(Message, theirs, Message.kind == kinds.TEXT),
            "calls": _count(Message, theirs, Message.kind == kinds.CALL),
            "files": _count(MediaAttachment, MediaAttachment.message_id.in_(ids)),
            "records": _count(WorkRecord, WorkRecord.conversation_id.in_(self.own)),
            "contacts": len(self.contacts),
            "groups": len(self.groups),
        }


def held_of(number: str) -> Held:
    """Find this canonical number."""
    conversations = db.session.execute(
        sa.select(Conversation.id, Conversation.participants).where(
            Conversation.participants.contains(number, autoescape=True)
        )
    ).all()
    named = [(row.id, row.participants.split(",")) for row in conversations]
    named = [(one, numbers) for one, numbers in named if number in numbers]
    contacts = db.session.scalars(
        sa.select(Contact).join(ContactNumber).where(ContactNumber.number == number)
    ).all()
    return Held(
        number,
        [one for one, numbers in named if not _others(numbers, number)],
        [one for one, numbers in named if _others(numbers, number)],
        list(contacts),
    )


def _others(numbers: Iterable[str], number: str) -> list[str]:
    return [one for one in numbers if one != number and not quo.is_forgotten(one)]


def _count(model: type, *conditions: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(model).where(*conditions)
    return db.session.scalar(query) or 0
