"""Display names of phone numbers and conversations, from the address book."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.models import Contact, ContactNumber, Conversation


def names_of(numbers: Iterable[str]) -> dict[str, str]:
    """Names by number, without unknown numbers. People who share a number are all named."""
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


def title_of(conversation: Conversation, names: dict[str, str]) -> str:
    return (
        ", ".join(names.get(number) or quo.display(number) for number in conversation.numbers)
        or "Unknown caller"
    )


def titles_of(conversations: Sequence[Conversation]) -> list[str]:
    """The titles of these conversations, in order, by one query."""
    numbers = {number for one in conversations for number in one.numbers}
    names = names_of(numbers) if numbers else {}
    return [title_of(one, names) for one in conversations]
