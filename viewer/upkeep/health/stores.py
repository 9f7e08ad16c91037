"""The stores, and what is in each: for `viewer storage list`, the status page and `/healthz`."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep.health import totals
from viewer.upkeep.progress import size_in_words


@dataclass(frozen=True, slots=True)
class StoreState:
    """A store of originals."""

    id: uuid.UUID
    kind: RegisteredStore.Kind
    address: str
    host: str | None  # of a folder
    is_own: bool  # the folder of this host
    is_wanted: bool  # new files go there
    retired_at: datetime | None
    files: int
    bytes: int
    to_push: int  # files in it that another store should have
    to_push_since: datetime | None
    to_clear: int  # files that have moved on, and are still in it, too
    problem: str | None  # why it cannot be reached; also None for other hosts' folders

    def lines(self) -> Iterator[str]:
        """What is to be said of it, for a terminal."""
        if self.retired_at:
            yield f"lost, and given up on {self.retired_at:%Y-%m-%d}"
            return
        if self.host:
            yield f"folder of {self.host}" + (", which is this host" if self.is_own else "")
        yield f"{counted(self.files, 'file')}, {size_in_words(self.bytes)}"
        if self.is_wanted:
            yield "new files go there"
        if self.to_push:
            since = f" since {self.to_push_since:%Y-%m-%d %H:%M} UTC" if self.to_push_since else ""
            yield f"{self.to_push:,} wait to be pushed{since}"
        if self.to_clear:
            yield f"{self.to_clear:,} moved on, and are still here, too"
        if self.problem:
            yield f"away: {self.problem}"


_media, _store = MediaAttachment.__table__.c, RegisteredStore.__table__.c


def _of_store(what: sa.ColumnElement[Any], part: str, column: str) -> sa.ScalarSelect[Any]:
    return (
        sa.select(what)
        .select_from(MediaAttachment.__table__)
        .where(MediaAttachment.is_in(part), _media[column] == _store.id)
        .correlate(RegisteredStore.__table__)
        .scalar_subquery()
    )


# Asked of each store by itself: an index over those few answers, however many files there are.
_STORES: sa.Select[*tuple[Any, ...]] = sa.select(
    *RegisteredStore.__table__.columns,
    _of_store(sa.func.count(), "to_push", "storage").label("to_push"),
    _of_store(sa.func.min(_media.push_wanted_at), "to_push", "storage").label("to_push_since"),
    _of_store(sa.func.count(), "moved", "former_storage").label("to_clear"),
).order_by(_store.created_at, _store.id)


def read(known: totals.Totals | None = None) -> Sequence[StoreState]:
    """All stores, the first one first. `known`: what was counted already."""
    known = known or totals.read()
    own = holdings.own_id_if_known()
    rows = db.session.execute(_STORES).all()
    has_chosen = any(row.is_wanted for row in rows)
    return [
        StoreState(
            row.id,
            row.kind,
            row.address or str(row.id),
            row.host,
            row.id == own,
            row.is_wanted or (not has_chosen and row.id == own),
            row.retired_at,
            known.kept_files[str(row.id)],
            known.kept_bytes[str(row.id)],
            row.to_push,
            row.to_push_since,
            row.to_clear,
            None if _is_of_another_host(row, own) or row.retired_at else _why_away(row.id),
        )
        for row in rows
    ]


def _is_of_another_host(row: sa.Row[*tuple[Any, ...]], own: uuid.UUID | None) -> bool:
    return bool(row.kind is RegisteredStore.Kind.FOLDER and row.id != own)


def _why_away(store: uuid.UUID) -> str | None:
    try:
        return holdings.store(store).why_away()
    except Unavailable as trouble:
        return str(trouble)
