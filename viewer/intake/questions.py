"""Retry requests about single objects that the provider did not answer, while the lists go on.

Each question is saved as a checkpoint and repeated with backoff, at fixed ages since the first
attempt.
"""

import abc
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now
from viewer.models import Checkpoint
from viewer.models.checkpoints import parse_moment
from viewer.quo import rest

log = logging.getLogger(__name__)

# At these ages something that is still missing is asked for: not every ten minutes for ever.
ASK_AT = tuple(
    timedelta(minutes=minutes) for minutes in (10, 60, 360, 1380, 3 * 1440, 7 * 1440, 30 * 1440)
)


@dataclass
class Saved(abc.ABC):
    """State kept from one run to the next, in a checkpoint of its own."""

    TIMES: ClassVar[tuple[str, ...]]  # the names of its moments

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name of its checkpoint."""

    def save(self) -> None:
        told = dataclasses.asdict(self)
        Checkpoint.write(self.name, json.dumps(told, default=datetime.isoformat))

    @classmethod
    def read(cls, value: str | None) -> Self | None:
        if value is None:
            return None
        told = json.loads(value)
        return cls(**(told | {name: parse_moment(told[name]) for name in cls.TIMES}))


@dataclass
class Question(Saved):
    """An unanswered request about one object, to be retried.

    The list it came from goes on, and its checkpoint with it: this records what is missing.
    """

    TIMES = ("start", "since", "asked")

    what: str  # a file's role; "call parts", "call", "delivery"; "message listing", "call listing"
    id: str
    of: Any = None  # the delivery's webhook; the conversation, as v1 tells of it
    start: datetime | None = None  # of a conversation's listing: the oldest that is wanted
    since: datetime = field(default_factory=now)
    asked: datetime | None = None  # the latest attempt

    PREFIX = "unanswered "

    @property
    def name(self) -> str:
        # Nobody promises how long an id of theirs is.
        told = hashlib.sha256(f"{self.what} {self.id}".encode()).hexdigest()
        return self.PREFIX + told[:40]

    def save(self) -> None:
        earlier = self.read(Checkpoint.read(self.name))
        if earlier is not None:
            self.since, self.asked = earlier.since, self.asked or earlier.asked
            if earlier.start is None or (self.start and earlier.start < self.start):
                self.start = earlier.start
        super().save()

    @classmethod
    def all(cls) -> "list[Question]":
        """Every open question, the longest waiting first."""
        marks = db.session.scalars(
            sa.select(Checkpoint)
            .where(Checkpoint.name.startswith(cls.PREFIX))
            .order_by(Checkpoint.updated_at)
        )
        return [question for mark in marks if (question := cls.read(mark.value))]

    def is_due(self, moment: datetime) -> bool:
        return self.asked is None or passes(self.since, self.asked, moment)


class Asker:
    """Ask about single things in one run of the catch-up.

    `say` takes sentences for office staff.
    """

    def __init__(self, began: datetime, say: Callable[[str], None]) -> None:
        self.began, self.say = began, say
        self.is_whole = True  # whether the provider answered every step
        self.unanswered: list[Question] = []  # not saved yet
        self.is_down = False  # then no more is asked in this step
        self._in_a_row = 0  # questions of this step that were not answered

    def begin_step(self) -> None:
        self._in_a_row, self.is_down = 0, False

    def answered(self, question: Question, ask: Callable[[], object]) -> bool:
        """Send the request. True if answered; otherwise the question is saved for a retry."""
        if self.is_down:
            self.unanswered.append(question)
            return False
        try:
            ask()
        except rest.RestError as trouble:
            db.session.rollback()
            if not trouble.is_about_one:
                raise
            self.note(question, trouble)
            return False
        self._in_a_row = 0
        return True

    def note(self, question: Question, trouble: rest.RestError) -> None:
        self.say(trouble.reason)
        log.warning("catch-up %s %s: %s", question.what, question.id, trouble.reason)
        question.asked = self.began
        self.unanswered.append(question)
        # A refusal comes at once and is about the one thing; the rest is asked with many repeats.
        self._in_a_row = self._in_a_row + 1 if isinstance(trouble, rest.Unreachable) else 0
        if self._in_a_row >= rest.SEVERAL:
            self.is_down, self.is_whole = True, False

    def save_unanswered(self) -> None:
        if self.unanswered:
            lock(Lock.QUESTIONS)  # another run may note the same one
        for question in self.unanswered:
            question.save()
        self.unanswered.clear()


def passes(began: datetime, last: datetime, moment: datetime) -> bool:
    """Whether an age of ASK_AT lies after `last` and not after `moment`."""
    return any(last < began + age <= moment for age in ASK_AT)
