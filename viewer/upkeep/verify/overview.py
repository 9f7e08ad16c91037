"""What is known of the checks: for the status page, `/healthz` and `/metrics`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.upkeep import runs


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
    run, newer, media = UpkeepRun, aliased(UpkeepRun), MediaAttachment
    newest = (
        sa.select(sa.func.max(newer.started_at))
        .where(newer.kind == run.kind, newer.subject == run.subject, newer.has_result())
        .correlate(run)
        .scalar_subquery()
    )
    found = db.session.scalars(
        sa.select(run)
        .where(run.kind == run.Kind.VERIFY, run.has_result(), run.started_at == newest)
        .order_by(run.started_at.desc())
    ).all()
    created = db.session.scalar(sa.select(sa.func.min(RegisteredStore.created_at)))
    ended = runs.latest(run.Kind.VERIFY)
    # Asked of each store by itself: then the index answers, however many originals there are.
    oldest = (
        sa.select(sa.func.min(media.verified_at))
        .where(media.is_in("kept"), media.storage == RegisteredStore.id)
        .correlate(RegisteredStore)
        .scalar_subquery()
    )
    read_at = db.session.scalars(sa.select(oldest).select_from(RegisteredStore))
    return Overview(
        found,
        ended.words if ended and ended.outcome is run.Outcome.FAILED else None,
        found[0].ended_at if found else created,
        min(filter(None, read_at), default=None),
    )
