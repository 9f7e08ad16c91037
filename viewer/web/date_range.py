"""Dates in addresses: the days that a list is narrowed to, `?since=2026-09-01&until=2026-09-21`.

One behaviour for every list: either end may be open, the wrong way round is turned, and a date that
is none narrows nothing; the page says so beside its field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from flask import abort
from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

from viewer.config import settings


@dataclass(frozen=True, slots=True)
class Span:
    """Days of the display zone, both included; None is open. What was typed is never lost."""

    first: date | None
    last: date | None
    since: str  # as typed
    until: str
    problems: dict[str, str] = field(default_factory=dict)  # by field, in words

    @property
    def problem(self) -> str:
        return " ".join(self.problems.values())

    def __bool__(self) -> bool:
        return self.first is not None or self.last is not None

    @property
    def begin(self) -> datetime | None:
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment after it."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

    def conditions(self, moment: InstrumentedAttribute[datetime]) -> list[ColumnElement[bool]]:
        """What a row must be."""
        found = []
        if self.begin:
            found.append(moment >= self.begin)
        if self.end:
            found.append(moment < self.end)
        return found

    @property
    def words(self) -> str:
        """since September 1, until September 21, September 1 to September 21, 2025"""
        if self.first and self.last:
            first, last = _day(self.first), _day(self.last)
            return f"on {first}" if self.first == self.last else f"{first} to {last}"
        if self.first:
            return f"since {_day(self.first)}"
        return f"until {_day(self.last)}" if self.last else ""

    @property
    def args(self) -> dict[str, str]:
        """For an address: the dates that were understood."""
        given = {"since": self.first, "until": self.last}
        return {name: day.isoformat() for name, day in given.items() if day}


def read_span(args: Mapping[str, str]) -> Span:
    """What an address asks for."""
    typed = {name: args.get(name, "").strip() for name in ("since", "until")}
    days: dict[str, date] = {}
    problems: dict[str, str] = {}
    for name, words in typed.items():
        try:
            if words:
                days[name] = _read_date(words)
        except (ValueError, OverflowError):
            problems[name] = f"“{words[:20]}” is no date. Write it as 2026-09-21."
    first, last, since, until = days.get("since"), days.get("until"), typed["since"], typed["until"]
    if first and last and last < first:  # the other way round is meant
        first, last, since, until = last, first, until, since
    return Span(first, last, since, until, problems)


def read_moment(words: str) -> datetime:
    """A moment that a page of ours wrote down, in UTC. Answers 400 for anything else."""
    try:
        found = datetime.fromisoformat(words)
        if found.tzinfo is None:
            abort(400, "That moment has no zone.")
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        abort(400, "That is no moment.")


def _read_date(words: str) -> date:
    """Raises ValueError, or OverflowError for a day that does not end in every zone."""
    found = date.fromisoformat(words)
    _midnight(found).astimezone(UTC)
    _midnight(found + timedelta(days=1)).astimezone(UTC)
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, settings().zone)


def _day(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"
