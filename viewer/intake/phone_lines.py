"""Our own phone lines and numbers: whoever else takes part in a message is the customer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.models import PhoneLine


@dataclass(frozen=True, slots=True)
class OwnLines:
    """What the rows and the settings tell of our lines, read once for each ingest."""

    line_of: dict[str, str | None]  # by number, what we know of its line
    number_of: dict[str, str | None]  # by line, what we know of its number
    numbers: frozenset[str]  # ours, from the settings, and learnt

    @classmethod
    def read(cls) -> Self:
        rows = db.session.execute(sa.select(PhoneLine.provider_id, PhoneLine.number)).all()
        line_of = {number: line for line, number in rows if number}
        return cls(
            line_of,
            {line: number for line, number in rows if line},
            frozenset(line_of) | frozenset(settings().QUO_NUMBERS),
        )

    def teaches(self, line: str | None, number: str) -> bool:
        """Whether it is news that this number is ours, and on this line."""
        if not number.startswith("+"):
            return False
        if number not in self.line_of:
            return True
        known = self.line_of[number]
        if not line or (known is not None and line >= known):
            return False
        # A ported line had several numbers: the first in order is its own, and all stay ours.
        return line not in self.number_of or number < (self.number_of[line] or "")

    def others(self, numbers: Iterable[str], line: str | None) -> set[str]:
        """The participants other than our own numbers."""
        named = set(numbers)
        if others := named - self.numbers:
            return others
        # Two lines of ours spoke with each other.
        ours = self.number_of.get(line) if line else None
        return named - {ours} if ours else set()

    def key(self, numbers: Iterable[str], line: str | None) -> str:
        """`Conversation.participants` of these people."""
        return ",".join(sorted(self.others(numbers, line)))


def learn(line_id: str | None, number: str) -> bool:
    """Record that this number is ours, and its line. True if that was news."""
    if not number.startswith("+"):
        return False
    line = db.session.scalar(sa.select(PhoneLine).filter_by(number=number))
    is_new = line is None
    if line is None:
        line = db.session.scalar(sa.select(PhoneLine).filter_by(provider_id=line_id, number=None))
        line = line or PhoneLine()
        line.number = number
        db.session.add(line)
        db.session.flush()
    if line_id and (line.provider_id is None or line_id < line.provider_id):
        # A ported line had several numbers: the first in order is its own, and all stay ours.
        holder = db.session.scalar(sa.select(PhoneLine).filter_by(provider_id=line_id))
        if holder is None or number < (holder.number or ""):
            if holder is not None:
                holder.provider_id = None
                db.session.flush()
            line.provider_id, is_new = line_id, True
            db.session.flush()
    return is_new
