"""Forget the customers whose time has come: rows by one host, bytes by each, traces at the end."""

import logging
import uuid

import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.models import Forgetting
from viewer.office import audit, forgetting
from viewer.upkeep import compaction

log = logging.getLogger(__name__)

EVERY = 300.0  # seconds
LEASE = 1800.0

State = Forgetting.State


def forget_due(*, at_once: bool = False) -> str:
    """Erase the rows of whoever is due, and the traces of whoever is gone. Commits.

    `at_once`: does not wait for the night. Raises what `compact` raises.
    """
    due = forgetting.due()
    db.session.commit()
    erased = sum(forgetting.erase(one) for one in due)
    done = _compact(at_once=at_once)
    return f"{erased} erased, {done} forgotten"


def clear_own() -> str:
    """Erase the bytes that this host reaches. Commits."""
    return f"{forgetting.clear()} files erased"


def _compact(*, at_once: bool) -> int:
    """How many are forgotten by this."""
    waiting = _ids(Forgetting.state == State.COMPACTING)
    again = _ids(Forgetting.state == State.DONE, Forgetting.compacted_at.is_(None))
    if not (waiting or again) or not (at_once or compaction.is_time()):
        return 0
    begun = now()
    compaction.compact()
    failpoint("forget.compacted")
    for one in waiting:
        _finish(one)
    # A repeat that came meanwhile has taken the mark away again, or does so after this.
    db.session.execute(
        sa.update(Forgetting)
        .where(Forgetting.id.in_(again), Forgetting.compacted_at.is_(None))
        .values(compacted_at=begun)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    return len(waiting)


def _finish(forgetting_id: uuid.UUID) -> None:
    moment = now()
    done = db.session.execute(
        sa.update(Forgetting)
        .where(Forgetting.id == forgetting_id, Forgetting.state == State.COMPACTING)
        .values(state=State.DONE, done_at=moment, compacted_at=moment)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("customer.forgotten", subject=("forgetting", forgetting_id))
        log.info("forgetting=%s is done", forgetting_id)
    db.session.commit()


def _ids(*conditions: sa.ColumnElement[bool]) -> list[uuid.UUID]:
    found = list(db.session.scalars(sa.select(Forgetting.id).where(*conditions)))
    db.session.commit()
    return found
