"""Display names of phone numbers and conversations, from the address book."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.models import Contact, ContactNumber, Conversation
from viewer.models.conversations import full_name


def names_of(numbers: Iterable[str]) -> dict[str, str]:
    """Names by number, without unknown numbers. People who share a number are all named."""
    names: dict[str, list[str]] = {}
    for number, first_name, last_name, company in contacts_of(numbers):
        name = full_name(first_name, last_name, company)
        if name and name not in names.setdefault(number, []):
            names[number].append(name)
    return {number: " & ".join(found) for number, found in names.items() if found}


def contacts_of(
    numbers: Iterable[str],
) -> Sequence[sa.Row[str, str | None, str | None, str | None]]:
    """Number, first name, last name and company of each contact with one of these numbers.

    Every page asks this, so it is columns of a statement built once: a third of the time of rows
    of the model.
    """
    wanted = list(set(numbers))
    return db.session.execute(_CONTACTS, {"numbers": wanted}).all() if wanted else ()


_contact, _number = Contact.__table__, ContactNumber.__table__
_CONTACTS = (
    sa.select(_number.c.number, _contact.c.first_name, _contact.c.last_name, _contact.c.company)
    .join_from(_number, _contact)
    .where(
        _number.c.number.in_(sa.bindparam("numbers", expanding=True)),
        _contact.c.deleted.is_(False),
    )
    .order_by(_contact.c.first_name, _contact.c.id)
)


def title_of(conversation: Conversation, names: dict[str, str]) -> str:
    return title_of_numbers(conversation.numbers, names)


def title_of_numbers(numbers: Iterable[str], names: dict[str, str]) -> str:
    """Return the title of a conversation with these numbers."""
    return (
        ", ".join(names.get(number) or quo.display(number) for number in numbers)
        or "Unknown caller"
    )


def titles_of(conversations: Sequence[Conversation]) -> list[str]:
    """The titles of these conversations, in order, by one query."""
    numbers = {number for one in conversations for number in one.numbers}
    names = names_of(numbers) if numbers else {}
    return [title_of(one, names) for one in conversations]
