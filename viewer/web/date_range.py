"""From one day to another, as a list is narrowed to it: `?since=2026-09-01&until=2026-09-21`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from viewer.config import settings


@dataclass(frozen=True, slots=True)
class Span:
    """Days of the display zone, both included; None is open. What was typed is never lost."""

    first: date | None
    last: date | None
    since: str  # as typed
    until: str
    problem: str = ""

    def __bool__(self) -> bool:
        return self.first is not None or self.last is not None

    @property
    def begin(self) -> datetime | None:
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment after it."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

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
        """For an address."""
        given = {"since": self.since, "until": self.until}
        return {name: day for name, day in given.items() if day}


def read_span(args: Mapping[str, str]) -> Span:
    """What an address asks for. A day that is none narrows nothing, and the page says so."""
    since, until = args.get("since", "").strip(), args.get("until", "").strip()
    try:
        first, last = (date.fromisoformat(day) if day else None for day in (since, until))
        for each in filter(None, (first, last)):
            _midnight(each + timedelta(days=1)).astimezone(UTC)
    except (ValueError, OverflowError):
        typed = " or ".join(f"“{day[:20]}”" for day in (since, until) if day)
        return Span(None, None, since, until, f"{typed} is no date. Write it as 2026-09-21.")
    if first and last and last < first:  # the other way round is meant
        first, last, since, until = last, first, until, since
    return Span(first, last, since, until)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, settings().zone)


def _day(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"
