"""Customers: the external parties of a conversation."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from viewer import quo
from viewer.models import Conversation
from viewer.office.names import names_of, title_of


@dataclass(frozen=True, slots=True)
class Customer:
    """A conversation, with the display name of its external parties."""

    conversation_id: uuid.UUID
    name: str
    numbers: str  # in display format; empty if `name` shows them already
    latest_at: datetime

    @property
    def words(self) -> str:
        """Such as `Dana Whitfield, (617) 555-0123`."""
        return ", ".join(filter(None, (self.name, self.numbers)))


def customer_of(conversation: Conversation) -> Customer:
    return customers_by_id([conversation])[conversation.id]


def customers_by_id(conversations: Sequence[Conversation]) -> dict[uuid.UUID, Customer]:
    """Customers by conversation id, with their names from the address book, in one query."""
    names = names_of({number for row in conversations for number in row.numbers})
    return {
        row.id: Customer(
            row.id,
            title_of(row, names),
            ", ".join(quo.display(number) for number in row.numbers)
            if any(number in names for number in row.numbers)
            else "",
            row.latest_at,
        )
        for row in conversations
    }
