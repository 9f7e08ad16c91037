"""Long lists, a page at a time: a place in one stays the same place while the list grows."""

import uuid
from datetime import UTC, datetime

from flask import abort
from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute


def position(moment: datetime, row_id: uuid.UUID) -> str:
    """The place of this row, for an address: `?before=…`."""
    return f"{moment.timestamp():.6f}_{row_id}"


def older(
    moment: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[uuid.UUID], place: str
) -> ColumnElement[bool]:
    """What comes after this place where the newest come first. A place that cannot be is a 400."""
    then, last = _read(place)
    # Said this way, and not with OR alone, both databases begin at the place instead of at the top.
    return (moment <= then) & ((moment < then) | (row_id < last))


def newer(
    moment: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[uuid.UUID], place: str
) -> ColumnElement[bool]:
    """What comes before this place where the newest come first."""
    then, last = _read(place)
    return (moment >= then) & ((moment > then) | (row_id > last))


def moment_of(words: str) -> datetime:
    """A moment that a page of ours wrote down, in UTC. What is none, or has no zone, is a 400."""
    try:
        found = datetime.fromisoformat(words)
        if found.tzinfo is None:
            abort(400, "That moment has no zone.")
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        abort(400, "That is no moment.")


def _read(place: str) -> tuple[datetime, uuid.UUID]:
    stamp, _, identity = place.partition("_")
    try:
        return datetime.fromtimestamp(float(stamp), tz=UTC), uuid.UUID(identity)
    except (ValueError, OverflowError, OSError):
        abort(400, "That is no place in this list.")
