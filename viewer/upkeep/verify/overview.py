"""What is known of the checks: for the status page, `/healthz` and `/metrics`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun


@dataclass(frozen=True, slots=True)
class Overview:
    """The newest check of each store, and how old the oldest one of any original is."""

    runs: Sequence[UpkeepRun]  # that could look, the newest first
    failure: str | None  # why the newest run could not, in words
    due_since: datetime | None  # when the last one was, or the first store was made
    oldest_read_at: datetime | None  # of the original not read for the longest time

    @property
    def last(self) -> UpkeepRun | None:
        return self.runs[0] if self.runs else None

    @property
    def orphans(self) -> int:
        return sum(run.counts.get("orphans", 0) for run in self.runs)

    @property
    def mass_changes(self) -> list[str]:
        """What the newest check of a store said, where it met one."""
        return [run.words or "" for run in self.runs if run.counts.get("is_mass_change")]


def read() -> Overview:
    found = db.session.scalars(_NEWEST).all()
    stores = db.session.execute(_STORES).all()
    ended = db.session.scalar(_ENDED)
    return Overview(
        found,
        ended.words if ended and ended.outcome is UpkeepRun.Outcome.FAILED else None,
        found[0].ended_at if found else min((store.created_at for store in stores), default=None),
        min((store.oldest for store in stores if store.oldest), default=None),
    )


# Built once: monitors ask every few seconds, and building them took half of their time.
_newer = aliased(UpkeepRun)
_NEWEST = (
    sa.select(UpkeepRun)
    .where(
        UpkeepRun.kind == UpkeepRun.Kind.VERIFY,
        UpkeepRun.has_result(),
        UpkeepRun.started_at
        == sa.select(sa.func.max(_newer.started_at))
        .where(
            _newer.kind == UpkeepRun.kind,
            _newer.subject == UpkeepRun.subject,
            _newer.has_result(),
        )
        .correlate(UpkeepRun)
        .scalar_subquery(),
    )
    .order_by(UpkeepRun.started_at.desc())
)
_ENDED = (
    sa.select(UpkeepRun)
    .where(UpkeepRun.kind == UpkeepRun.Kind.VERIFY, UpkeepRun.ended_at.is_not(None))
    .order_by(UpkeepRun.started_at.desc())
    .limit(1)
)
_media, _store = MediaAttachment.__table__, RegisteredStore.__table__
# Asked of each store by itself: then the index answers, however many originals there are.
_STORES = sa.select(
    _store.c.created_at,
    sa.select(sa.func.min(_media.c.verified_at))
    .where(MediaAttachment.is_in("kept"), _media.c.storage == _store.c.id)
    .correlate(_store)
    .scalar_subquery()
    .label("oldest"),
)
