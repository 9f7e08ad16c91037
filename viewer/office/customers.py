"""Whom the work is for: the other side of a conversation, by name or number."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.models import Contact, ContactNumber, Conversation, ConversationAlias, SearchEntry
from viewer.office import words

OFFERED = 12  # customers to choose from; whoever is not among them is searched for


@dataclass(frozen=True, slots=True)
class Customer:
    """A conversation, and what its other side is called."""

    conversation_id: uuid.UUID
    name: str
    numbers: str  # as people write them; empty where the name says it already
    latest_at: datetime

    @property
    def words(self) -> str:
        """Dana Whitfield, (617) 555-0123"""
        return ", ".join(filter(None, (self.name, self.numbers)))


def find(conversation_id: uuid.UUID) -> Conversation | None:
    """The conversation, also by the id it had before it proved to be one with another."""
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is None and (alias := db.session.get(ConversationAlias, str(conversation_id))):
        conversation = db.session.get(Conversation, alias.conversation_id)
    return conversation


def of(conversation: Conversation) -> Customer:
    return called([conversation])[0]


def called(conversations: Sequence[Conversation]) -> list[Customer]:
    """These customers, with their names from the address book."""
    names = _names({number for row in conversations for number in row.numbers})
    found = []
    for row in conversations:
        known = any(number in names for number in row.numbers)
        shown = [quo.display(number) for number in row.numbers]
        found.append(
            Customer(
                row.id,
                ", ".join(names.get(number) or quo.display(number) for number in row.numbers)
                or "Unknown caller",
                ", ".join(shown) if known else "",
                row.latest_at,
            )
        )
    return found


def search(typed: str) -> list[Customer]:
    """Those who wrote or called last; with words, those whose names and numbers begin so."""
    query = sa.select(Conversation).order_by(Conversation.latest_at.desc(), Conversation.id.desc())
    if terms := words.terms(typed):
        query = query.where(Conversation.id.in_(_known_by(terms)))
    elif typed.strip():
        return []  # nothing but signs
    return called(db.session.scalars(query.limit(OFFERED)).all())


def _known_by(terms: list[str]) -> sa.Select[Any]:
    found = sa.select(SearchEntry.conversation_id).where(
        SearchEntry.conversation_id.is_not(None), words.match(SearchEntry, terms)
    )
    if db.engine.dialect.name == "sqlite":
        full_text = words.full_text(SearchEntry)
        found = found.join(full_text, full_text.c.rowid == SearchEntry.id)
    return found


def _names(numbers: Iterable[str]) -> dict[str, str]:
    """What the address book calls these numbers. Two people with one phone are both named."""
    rows = db.session.execute(
        sa.select(ContactNumber.number, Contact)
        .join(Contact)
        .where(ContactNumber.number.in_(set(numbers)), Contact.deleted.is_(False))
        .order_by(Contact.first_name, Contact.id)
    ).all()
    names: dict[str, list[str]] = {}
    for number, contact in rows:
        if contact.name and contact.name not in names.setdefault(number, []):
            names[number].append(contact.name)
    return {number: " & ".join(found) for number, found in names.items() if found}
