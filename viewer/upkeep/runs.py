"""The record of verify, backup, drill and restore: what each run looked at, and how it ended.

A run is recorded when it begins, so one that was killed is seen as well: it stays `running`.
"""

import logging
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from viewer.extensions import begin_writing, db, now
from viewer.models import UpkeepRun

log = logging.getLogger(__name__)

KEPT = 400  # of each kind

Kind = UpkeepRun.Kind
Outcome = UpkeepRun.Outcome


def begin(kind: Kind, subject: str) -> uuid.UUID:
    """Record that a run of this store or target has begun. Its id. Commits."""
    run = UpkeepRun(kind=kind, subject=subject)
    db.session.add(run)
    db.session.flush()
    identity = run.id
    db.session.commit()
    return identity


def finish(
    identity: uuid.UUID,
    outcome: Outcome,
    words: str,
    counts: dict[str, Any] | None = None,
    snapshot: int | None = None,
) -> None:
    """Record how a run ended, in a sentence, and forget the oldest of its kind. Commits."""
    begin_writing()
    run = db.session.get_one(UpkeepRun, identity, populate_existing=True)
    run.ended_at, run.outcome, run.words = now(), outcome, words
    run.counts, run.snapshot = counts or {}, snapshot
    _forget_oldest(run.kind)
    kind, subject = run.kind, run.subject
    db.session.commit()
    level = logging.INFO if outcome is Outcome.GOOD else logging.ERROR
    log.log(level, "%s of %s: %s", kind, subject, words)


def latest(
    kind: Kind, subject: str | None = None, outcome: Outcome | None = None
) -> UpkeepRun | None:
    """The newest run of this kind that ended; of this subject, and with this outcome, if given."""
    query = sa.select(UpkeepRun).where(UpkeepRun.kind == kind, UpkeepRun.ended_at.is_not(None))
    if subject is not None:
        query = query.where(UpkeepRun.subject == subject)
    if outcome is not None:
        query = query.where(UpkeepRun.outcome == outcome)
    return db.session.scalar(query.order_by(UpkeepRun.started_at.desc()).limit(1))


def was_good_today(kind: Kind, subject: str) -> bool:
    """Whether the newest good run of this subject began today (UTC). Closes the transaction."""
    last = latest(kind, subject, Outcome.GOOD)
    db.session.commit()
    return last is not None and last.started_at.date() == now().date()


def _forget_oldest(kind: Kind) -> None:
    """Keep `KEPT` of a kind, and of each subject its newest good one, however old."""
    run, other = UpkeepRun, aliased(UpkeepRun)
    kept = sa.select(run.id).where(run.kind == kind).order_by(run.started_at.desc()).limit(KEPT)
    newest_good = (
        sa.select(sa.func.max(other.started_at))
        .where(other.kind == kind, other.subject == run.subject, other.outcome == Outcome.GOOD)
        .correlate(run)
        .scalar_subquery()
    )
    db.session.execute(
        sa.delete(run)
        .where(run.kind == kind, run.id.not_in(kept))
        .where(sa.or_(newest_good.is_(None), run.started_at != newest_good))
        .execution_options(synchronize_session=False)
    )
