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
CHECKPOINT = "totals"
LATELY = timedelta(days=90)

State = MediaAttachment.State

# Of one group of files: store, state, whether its bytes are kept; files, bytes, bytes of 90 days.
_Group = tuple[str | None, str, bool, int, int, int]


@dataclass(frozen=True, slots=True)
class Totals:
    as_of: datetime | None  # when all were counted; None: just now
    states: Counter[State]
    bytes_stored: int
    bytes_lately: int
    kept_files: Counter[str | None]  # by store
    kept_bytes: Counter[str | None]


def read() -> Totals:
    """What was counted last, and what came since. Counts all where nobody has counted yet."""
    mark = db.session.get(Checkpoint, CHECKPOINT)
    as_of = parse_moment(json.loads(mark.value)["as_of"]) if mark else None
    connection = db.session.connection()
    if mark is None or as_of is None:
        return _sum(None, _groups(connection, _ALL))
    newer = _groups(connection, _NEWER, as_of=as_of)
    return _sum(as_of, [*json.loads(mark.value)["groups"], *newer])


def count() -> str:
    """Count all files. Returns one line for the log. Does not commit."""
    moment = now()
    # On a connection of its own: a task's transaction holds SQLite's write lock from its first
    # query on, and this one takes a second at a million files.
    with one_query() as connection:
        groups = _groups(connection, _OLDER, as_of=moment)
    Checkpoint.write(CHECKPOINT, json.dumps({"as_of": moment.isoformat(), "groups": groups}))
    return f"{sum(group[3] for group in groups)} files"


_media = MediaAttachment.__table__.c
_IS_KEPT = MediaAttachment.is_in("kept")


_IS_RECENT = _media.downloaded_at > sa.bindparam("lately")
_AS_OF = sa.bindparam("as_of", type_=UtcDateTime())
_ALL = sa.select(
    _media.storage,
    _media.state,
    sa.case((_IS_KEPT, 1), else_=0).label("is_kept"),
    sa.func.count().label("files"),
    sa.func.coalesce(sa.func.sum(_media.file_size), 0).label("bytes"),
    sa.func.coalesce(sa.func.sum(_media.file_size).filter(_IS_RECENT), 0).label("recent"),
).group_by(_media.storage, _media.state, sa.text("is_kept"))
_OLDER = _ALL.where(_media.downloaded_at.is_(None) | (_media.downloaded_at <= _AS_OF))
_NEWER = _ALL.where(_IS_KEPT, _media.downloaded_at > _AS_OF)


def _groups(connection: sa.Connection, query: sa.Select[Any], **moments: datetime) -> list[_Group]:
    return [
        (
            str(row.storage) if row.storage else None,
            str(row.state),
            bool(row.is_kept),
            int(row.files),
            int(row.bytes),
            int(row.recent),
        )
        for row in connection.execute(query, {"lately": now() - LATELY, **moments})
    ]


def _sum(as_of: datetime | None, groups: Iterable[Any]) -> Totals:
    states: Counter[State] = Counter()
    found = Totals(as_of, states, 0, 0, Counter(), Counter())
    stored = lately = 0
    for storage, state, is_kept, files, size, recent in groups:
        states[State(state)] += files
        if is_kept:
            found.kept_files[storage] += files
            found.kept_bytes[storage] += size
        if state == State.STORED:
            stored, lately = stored + size, lately + recent
    return Totals(as_of, states, stored, lately, found.kept_files, found.kept_bytes)
