"""Filters of the gallery: parse them from the URL, describe them on the page, build SQL conditions.

Each filter is one query parameter; filters combine, and the URL can be bookmarked and shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from flask import abort

from viewer import quo
from viewer.extensions import db
from viewer.models import Contact, ContactNumber, Conversation, MediaAttachment, Message
from viewer.web.date_range import Span, read_span
from viewer.web.wording import AVAILABILITY, Availability

State, Trouble = MediaAttachment.State, MediaAttachment.Trouble
MediaType = MediaAttachment.MediaType

Condition = sa.ColumnElement[bool]

KINDS = {
    "photos": ("Photos", MediaType.PHOTO),
    "videos": ("Videos", MediaType.VIDEO),
    "sounds": ("Voicemails & calls", MediaType.AUDIO),
    "documents": ("Documents", MediaType.DOCUMENT),
}


FILED: dict[str, tuple[str, Condition]] = {
    "linked": ("Linked to work", MediaAttachment.is_in("linked")),
    "unfiled": ("Unfiled", MediaAttachment.is_in("unfiled")),
    "not-needed": ("Not needed", MediaAttachment.is_in("not_needed")),
}
_UNSETTLED = MediaAttachment.is_in("unsettled")


def _having(state: MediaAttachment.State, *more: Condition) -> Condition:
    return sa.and_(_UNSETTLED, MediaAttachment.state == state, *more)


_BY_OUR_RULES = (Trouble.REFUSED, Trouble.NOT_THE_FILE, Trouble.DOUBTFUL)
# All but the first are few, and a partial index holds them. `attention` combines several.
STATES: dict[str, tuple[str, Condition]] = {
    "here": (
        AVAILABILITY[Availability.HERE],
        (MediaAttachment.state == State.STORED) & MediaAttachment.trouble.is_(None),
    ),
    "attention": ("Need attention", sa.and_(_UNSETTLED, MediaAttachment.is_in("attention"))),
    "waiting": (
        AVAILABILITY[Availability.ON_ITS_WAY],
        sa.and_(_UNSETTLED, MediaAttachment.state.in_((State.PENDING, State.DOWNLOADING))),
    ),
    "incomplete": (
        AVAILABILITY[Availability.INCOMPLETE],
        _having(State.STORED, MediaAttachment.trouble == Trouble.INCOMPLETE),
    ),
    "unavailable": (
        AVAILABILITY[Availability.NOT_AVAILABLE],
        _having(
            State.NEEDS_ATTENTION,
            sa.func.coalesce(MediaAttachment.trouble, "").not_in(_BY_OUR_RULES),
        ),
    ),
    "refused": (
        AVAILABILITY[Availability.NOT_DOWNLOADED],
        _having(State.NEEDS_ATTENTION, MediaAttachment.trouble == Trouble.REFUSED),
    ),
    "not-the-file": (
        AVAILABILITY[Availability.NOT_THE_FILE],
        _having(
            State.NEEDS_ATTENTION,
            MediaAttachment.trouble.in_((Trouble.NOT_THE_FILE, Trouble.DOUBTFUL)),
        ),
    ),
    "damaged": (AVAILABILITY[Availability.DAMAGED], _having(State.DAMAGED)),
    "closed": ("Closed", _having(State.CLOSED)),
}
_FORMER_STATES = {"safe": "here"}  # in bookmarks
US = "us"
# Upper bound that is always true: SQLite uses the index on `sent_at` only for a bounded range.
# Without one it sorts all rows.
EVER = datetime(9999, 1, 1, tzinfo=UTC)
NAMESAKES = 100  # limit: numbers that a name or a partial number may match


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The chosen filters, as typed."""

    kind: str = ""
    filed: str = ""
    state: str = ""
    sender: str = ""  # in a conversation a number or "us"; in the gallery of all, a search text
    span: Span = field(default_factory=lambda: read_span({}))
    conversation: Conversation | None = None

    @classmethod
    def read(
        cls, given: Mapping[str, str], conversation: Conversation | None = None
    ) -> "Narrowing":
        """Parse the query. Aborts with 404 for a value that no form of ours sends."""
        found: dict[str, Any] = {
            name: given.get(name, "").replace("\0", "").strip()[:100]
            for name in ("kind", "filed", "state", "sender")
        }
        found["state"] = _FORMER_STATES.get(found["state"], found["state"])
        for name, known in (("kind", KINDS), ("filed", FILED), ("state", STATES)):
            if found[name] and found[name] not in known:
                abort(404, "There is no such filter.")
        if conversation and found["sender"] not in ("", US, *conversation.numbers):
            abort(404, "Nobody in this conversation has that number.")
        return cls(conversation=conversation, span=read_span(given), **found)

    @property
    def is_of_choices_only(self) -> bool:
        """Whether its conditions depend on `kind`, `filed` and `state` only."""
        return not (self.sender or self.span or self.conversation)

    def address(self, **changes: str) -> dict[str, str]:
        """Return the query parameters of these filters, with changes; empty ones are omitted."""
        words = {
            "kind": self.kind,
            "filed": self.filed,
            "state": self.state,
            "sender": self.sender,
            **self.span.args,
            **changes,
        }
        return {name: word for name, word in words.items() if word}

    def chosen(self, names: Mapping[str, str]) -> list[tuple[str, str]]:
        """List the active filters except the kind: field name, and text of its chip."""
        by_whom = "Sent by us" if self.sender == US else names.get(self.sender, self.sender)
        said = {
            "filed": FILED[self.filed][0] if self.filed else "",
            "state": STATES[self.state][0] if self.state else "",
            "sender": f"From {by_whom}" if self.sender and self.sender != US else by_whom,
            "since": f"Since {_day(self.span.first)}" if self.span.first else "",
            "until": f"Until {_day(self.span.last)}" if self.span.last else "",
        }
        return [(name, words) for name, words in said.items() if words]

    def conditions(self) -> list[Condition]:
        """Build the SQL conditions that a file must match."""
        found = [
            MediaAttachment.is_listed(),
            MediaAttachment.sent_at <= EVER,
            MediaAttachment.was_sent(),
        ]
        if self.conversation:
            found.append(MediaAttachment.conversation_id == self.conversation.id)
        if self.kind:
            found.append(self._of_kind())
        if self.filed:
            found.append(FILED[self.filed][1])
        if self.state:
            found.append(STATES[self.state][1])
        found += self.span.conditions(MediaAttachment.sent_at)
        if self.sender:
            found += self._of_sender()
        return found

    def _of_kind(self) -> Condition:
        kind = KINDS[self.kind][1]
        if self.state not in ("", "here"):
            # lower() keeps the planner off the index on kinds: these few rows have a partial index
            # of their own, which does not scan all photos.
            return sa.func.lower(MediaAttachment.media_type) == kind.value
        return MediaAttachment.media_type == kind

    def _of_sender(self) -> list[Condition]:
        if self.sender == US and self.conversation:
            ours = Message.direction == Message.Direction.OUTGOING
            return [MediaAttachment.message.has(ours)]
        numbers = [self.sender] if self.conversation else numbers_called(self.sender)
        sent = MediaAttachment.message_id.in_(
            sa.select(Message.id).where(Message.sender.in_(numbers))
        )
        if self.conversation:
            return [sent]
        # List the conversations, so that the query scans only these and not all media ever sent.
        ids = db.session.scalars(
            sa.select(Message.conversation_id).where(Message.sender.in_(numbers)).distinct()
        ).all()
        return [MediaAttachment.conversation_id.in_(ids), sent]


def numbers_called(words: str) -> list[str]:
    """Find the phone numbers that match a number in any notation, a part of one, or a name."""
    whole = quo.canonical(words)
    if whole.startswith("+") and whole[1:].isdecimal():
        return [whole]
    digits = "".join(sign for sign in words if sign.isdecimal())
    if len(digits) >= 3 and len(digits) >= len(words) - 5:  # 0123, 555-0123, (617) 555
        return _numbers_with(digits)
    named = sa.select(ContactNumber.number).join(Contact).where(Contact.deleted.is_(False))
    for word in words.split():
        named = named.where(
            sa.or_(
                *(
                    column.icontains(word, autoescape=True)
                    for column in (Contact.first_name, Contact.last_name, Contact.company)
                )
            )
        )
    return list(db.session.scalars(named.distinct().limit(NAMESAKES)))


def _numbers_with(digits: str) -> list[str]:
    groups = db.session.scalars(
        sa.select(Conversation.participants)
        .where(Conversation.participants.contains(digits, autoescape=True))
        .limit(NAMESAKES)
    )
    return [number for group in set(groups) for number in group.split(",") if digits in number]


def _day(day: date) -> str:
    """Sep 1, 2026"""
    return f"{day:%b} {day.day}, {day.year}"
