"""Guess of whom and of when a delivery tells that could not be understood, for a person to read.

Only for showing: nothing is stored or decided by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from viewer.quo import numbers
from viewer.quo.dialects import read_json
from viewer.quo.types import NotUnderstood
from viewer.quo.wire import read_moment

_PARTIES = frozenset(
    {"from", "to", "senderIdentifier", "recipientIdentifiers", "participants", "phoneNumber"}
)
_MOST_NUMBERS = 10  # more are no group text


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What could be made out. `numbers`: canonical, ours included, in the order named."""

    numbers: tuple[str, ...] = ()
    sent_at: datetime | None = None  # of the message or call, else of the event


def glimpse(body: bytes) -> Glimpse:
    """Find numbers and the innermost `createdAt`, wherever they stand. Never raises."""
    try:
        payload = read_json(body)
    except NotUnderstood:
        return Glimpse()
    named: dict[str, None] = {}
    sent_at = None
    for name, value in _fields(payload):  # outer before inner: the message's own time wins
        if name == "createdAt":
            sent_at = read_moment(value) or sent_at
        elif name in _PARTIES:
            for one in value if isinstance(value, list) else [value]:
                number = numbers.canonical(one)
                if numbers.is_number(number):
                    named[number] = None
    return Glimpse(tuple(named)[:_MOST_NUMBERS], sent_at)


def _fields(payload: Any) -> Iterator[tuple[str, Any]]:
    """All fields of all objects, level by level."""
    level = [payload]
    while level:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                yield from one.items()
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = inner
