"""Totals over all files: counted twice an hour, and brought up to the moment by an index.

At a million files a full count takes a second, and monitors ask every few seconds. So a scheduled
task counts, and what was stored since is added from the index on `downloaded_at`: what came in is
exact. What was trashed, purged or moved since the count shows with the next one. Whatever keeps a
photo from being lost (files on their way, in need of attention, damaged) is not among these: it is
counted each time, by an index over those few.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer.extensions import UtcDateTime, db, now, one_query
from viewer.models import Checkpoint, MediaAttachment
from viewer.models.checkpoints import parse_moment

EVERY = 1800.0  # seconds
CHECKPOINT = "file totals"  # "totals", until November 2026, was of another form
WEEKS = 13

State = MediaAttachment.State

# Of one group of files: store, state, whether its bytes are kept; files, bytes.
_Group = tuple[str | None, str, bool, int, int]


@dataclass(frozen=True, slots=True)
class Totals:
    as_of: datetime | None  # when all were counted; None: just now
    states: Counter[State]
    bytes_stored: int
    kept_files: Counter[str | None]  # by store
    kept_bytes: Counter[str | None]
    # As of the count, by store: bytes of the messages of each week before it, the oldest first.
    weekly: dict[str, list[int]]
    first_sent_at: datetime | None  # of all messages with a file


def read() -> Totals:
    """What was counted last, and what came since. Counts all where nobody has counted yet."""
    mark = db.session.get(Checkpoint, CHECKPOINT)
    connection = db.session.connection()
    if mark is None:
        return _sum(None, _groups(connection, _ALL), *_growth(connection, now()))
    known = json.loads(mark.value)
    as_of = datetime.fromisoformat(known["as_of"])
    newer = _groups(connection, _NEWER, as_of=as_of)
    first = parse_moment(known["first_sent_at"])
    return _sum(as_of, [*known["groups"], *newer], known["weekly"], first)


def count() -> str:
    """Count all files. Returns one line for the log. Does not commit."""
    moment = now()
    # On a connection of its own: a task's transaction holds SQLite's write lock from its first
    # query on, and these take a second at a million files. They need not agree to the last file.
    with one_query() as connection:
        groups = _groups(connection, _OLDER, as_of=moment)
        weekly, first = _growth(connection, moment)
    found = {
        "as_of": moment.isoformat(),
        "groups": groups,
        "weekly": weekly,
        "first_sent_at": first.isoformat() if first else None,
    }
    Checkpoint.write(CHECKPOINT, json.dumps(found))
    return f"{sum(group[3] for group in groups)} files"


_media = MediaAttachment.__table__.c
_IS_KEPT = MediaAttachment.is_in("kept")


_AS_OF = sa.bindparam("as_of", type_=UtcDateTime())
_ALL = sa.select(
    _media.storage,
    _media.state,
    sa.case((_IS_KEPT, 1), else_=0).label("is_kept"),
    sa.func.count().label("files"),
    sa.func.coalesce(sa.func.sum(_media.file_size), 0).label("bytes"),
).group_by(_media.storage, _media.state, sa.text("is_kept"))
_OLDER = _ALL.where(_media.downloaded_at.is_(None) | (_media.downloaded_at <= _AS_OF))
_NEWER = _ALL.where(_IS_KEPT, _media.downloaded_at > _AS_OF)

# Where the weeks begin, the last one first.
_BEGINS = [sa.bindparam(f"begin_{number}", type_=UtcDateTime()) for number in range(WEEKS)]
_WEEK = sa.case(
    *((_media.sent_at > begin, number) for number, begin in enumerate(_BEGINS)), else_=WEEKS
)
_WEEKLY = (
    sa.select(_media.storage, _WEEK.label("week"), sa.func.sum(_media.file_size).label("bytes"))
    .where(_IS_KEPT, _media.sent_at > _BEGINS[-1])
    .group_by(_media.storage, sa.text("week"))
)
_FIRST = sa.select(_media.sent_at).where(_IS_KEPT).order_by(_media.sent_at).limit(1)


def _groups(connection: sa.Connection, query: sa.Select[Any], **moments: datetime) -> list[_Group]:
    return [
        (
            str(row.storage) if row.storage else None,
            str(row.state),
            bool(row.is_kept),
            int(row.files),
            int(row.bytes),
        )
        for row in connection.execute(query, moments)
    ]


def _growth(
    connection: sa.Connection, moment: datetime
) -> tuple[dict[str, list[int]], datetime | None]:
    """What came in each week, by store, and since when there has been anything."""
    weekly: dict[str, list[int]] = {}
    begins = {
        begin.key: moment - timedelta(weeks=number) for number, begin in enumerate(_BEGINS, 1)
    }
    for row in connection.execute(_WEEKLY, begins):
        weekly.setdefault(str(row.storage), [0] * WEEKS)[-1 - row.week] = int(row.bytes or 0)
    return weekly, connection.scalar(_FIRST)


def _sum(
    as_of: datetime | None,
    groups: Iterable[Any],
    weekly: dict[str, list[int]],
    first_sent_at: datetime | None,
) -> Totals:
    states: Counter[State] = Counter()
    kept_files: Counter[str | None] = Counter()
    kept_bytes: Counter[str | None] = Counter()
    stored = 0
    for storage, state, is_kept, files, size in groups:
        states[State(state)] += files
        if is_kept:
            kept_files[storage] += files
            kept_bytes[storage] += size
        if state == State.STORED:
            stored += size
    return Totals(as_of, states, stored, kept_files, kept_bytes, weekly, first_sent_at)
