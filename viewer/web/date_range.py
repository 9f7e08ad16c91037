"""Date-range filter of lists, read from the URL: `?since=2026-09-01&until=2026-09-21`.

Every list behaves the same: either end may be open, swapped ends are put in order, and an invalid
date is ignored; the page says so beside its field.
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
    """A range of days in the display time zone, both inclusive; None is open.

    Keeps the input as typed, even if it is invalid, to show it again in its field.
    """

    first: date | None
    last: date | None
    since: str  # as typed
    until: str
    problems: dict[str, str] = field(default_factory=dict)  # by field: a message to show

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
        """Exclusive end: the midnight after the last day."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

    def conditions(self, moment: InstrumentedAttribute[datetime]) -> list[ColumnElement[bool]]:
        """Return the SQL conditions that restrict `moment` to this range."""
        found = []
        if self.begin:
            found.append(moment >= self.begin)
        if self.end:
            found.append(moment < self.end)
        return found

    @property
    def words(self) -> str:
        """Format the range: "since September 1, 2025", "until …", "on …", "September … to …"."""
        if self.first and self.last:
            first, last = _day(self.first), _day(self.last)
            return f"on {first}" if self.first == self.last else f"{first} to {last}"
        if self.first:
            return f"since {_day(self.first)}"
        return f"until {_day(self.last)}" if self.last else ""

    @property
    def args(self) -> dict[str, str]:
        """Return the query parameters for a URL: only the dates that are valid."""
        given = {"since": self.first, "until": self.last}
        return {name: day.isoformat() for name, day in given.items() if day}


def read_span(args: Mapping[str, str]) -> Span:
    """Parse `since` and `until` from the query. Never fails: see `Span.problems`."""
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
    if first and last and last < first:  # swapped by mistake
        first, last, since, until = last, first, until, since
    return Span(first, last, since, until, problems)


def read_moment(words: str) -> datetime:
    """Parse an ISO 8601 timestamp with a zone, as UTC. Aborts with 400 if it is invalid."""
    try:
        found = datetime.fromisoformat(words)
        if found.tzinfo is None:
            abort(400, "That moment has no zone.")
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        abort(400, "That is no moment.")


def _read_date(words: str) -> date:
    """Raises ValueError, or OverflowError for a day whose start or end is out of range in UTC."""
    found = date.fromisoformat(words)
    _midnight(found).astimezone(UTC)
    _midnight(found + timedelta(days=1)).astimezone(UTC)
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, settings().zone)


def _day(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"
