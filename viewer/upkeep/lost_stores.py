"""A store is lost for good: let its rows name what there is elsewhere, or wait for their repair."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db, now
from viewer.intake import derivatives
from viewer.models import MediaAttachment, RegisteredStore
from viewer.office import audit, findings
from viewer.upkeep.verify import repair

State = MediaAttachment.State
Rows = sa.ColumnElement[bool]


class CannotGiveUp(Exception):
    """The store cannot be given up. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What goes with a store."""

    address: str
    elsewhere: int  # files whose former store still has them
    gone: int  # files that are nowhere else: backup and phone provider are asked


def survey(identity: uuid.UUID) -> Loss:
    """Raises CannotGiveUp."""
    row = db.session.get(RegisteredStore, identity)
    if row is None or row.retired_at is not None:
        raise CannotGiveUp(f"There is no store {identity}: viewer storage list")
    if identity == holdings.own_id():
        raise CannotGiveUp(
            "This is the folder of this very host. If its disk is new and empty: "
            "viewer restore --from TARGET --only-missing --new-disk"
        )
    media, is_moved = MediaAttachment, MediaAttachment.former_storage.is_not(None)
    elsewhere, gone = db.session.execute(
        sa.select(sa.func.count().filter(is_moved), sa.func.count().filter(~is_moved)).where(
            media.is_in("kept"), media.storage == identity
        )
    ).one()
    address = row.address or str(identity)
    db.session.commit()
    return Loss(address, elsewhere, gone)


def give_up(identity: uuid.UUID) -> None:
    """Retire the store: nothing is looked for in it any more. Idempotent. Commits.

    What is nowhere else counts as damaged in this host's folder until it is repaired.
    """
    media, moment = MediaAttachment, now()
    is_in_it = media.storage == identity
    kept = media.is_in("kept") & is_in_it
    begin_writing()
    _change(
        kept & media.former_storage.is_not(None),
        storage=media.former_storage, former_storage=None, moved_at=moment,
        push_wanted_at=moment, push_due_at=moment,
    )  # fmt: skip
    _change(
        kept & media.former_storage.is_(None),
        storage=holdings.own_id(), push_wanted_at=moment, push_due_at=moment,
        problem=findings.PROBLEMS[holdings.Finding.MISSING],
        state=sa.case({State.STORED: State.DAMAGED}, value=media.state, else_=media.state),
    )  # fmt: skip
    # Of what a dead run was about to place there, nothing is left: it is downloaded again.
    _change(media.is_in("to_collect") & is_in_it, storage=None, sha256=None)
    _change(media.former_storage == identity, former_storage=None)
    store = db.session.get_one(RegisteredStore, identity)
    store.retired_at, store.is_wanted = moment, False
    audit.note("store.lose", store.address or str(identity), subject=("store", identity))
    db.session.commit()


def bring_back(advance: Callable[[int], None]) -> tuple[int, int]:
    """Repair what this host's folder misses. How many are right again, and how many are not."""
    right = still_bad = 0
    for media in repair.damaged(holdings.own_id()):
        if repair.repair(media, holdings.own()):
            right += 1
            derivatives.make_again(media.id)
            db.session.commit()
        else:
            still_bad += 1
        advance(1)
    return right, still_bad


def _change(which: Rows, **values: object) -> None:
    db.session.execute(
        sa.update(MediaAttachment)
        .where(which)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
