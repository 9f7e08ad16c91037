"""Ask for a customer to be forgotten, and revoke it while it waits."""

import uuid
from datetime import timedelta

import sqlalchemy as sa

from viewer import quo
from viewer.config import settings
from viewer.extensions import Lock, db, lock, now
from viewer.models import Forgetting, PhoneLine, User
from viewer.office import audit
from viewer.office.forgetting.held import held_of

State = Forgetting.State
LONGEST_NOTE = 500  # characters


class NothingHeld(Exception):
    """Nothing is held about this number."""


class UnderWay(Exception):
    """This number is being forgotten already."""


class NotOne(Exception):
    """The number is ours, or that of nobody in particular; the message says which."""


class TooLate(Exception):
    """It has begun, or is over: nothing can be revoked."""


def ask(
    number: str, reason: Forgetting.Reason, note: str = "", by: User | None = None
) -> Forgetting:
    """Have this canonical number forgotten after FORGET_AFTER_DAYS. Does not commit.

    The note goes with the rest. Raises NotOne, NothingHeld, UnderWay.
    """
    _must_be_a_customer(number)
    lock(Lock.INGEST)  # two people may ask at once
    if of_number(number) is not None:
        raise UnderWay
    if held_of(number).is_empty():
        raise NothingHeld
    moment = now()
    found = Forgetting(
        id=uuid.uuid4(),
        number=number,
        reason=reason,
        note=note.strip()[:LONGEST_NOTE] or None,
        state=State.WAITING,
        asked_at=moment,
        asked_by=by.email if by else audit.SYSTEM,
        due_at=moment + timedelta(days=settings().FORGET_AFTER_DAYS),
        counts={},
        remarks=[],
    )
    db.session.add(found)
    audit.note("customer.forget", f"for {reason.value}", by=by, subject=("forgetting", found.id))
    return found


def _must_be_a_customer(number: str) -> None:
    """By our own number every text of ours would go, and a hidden one may be anybody's."""
    ours = sa.select(PhoneLine.id).filter_by(number=number)
    if number in settings().QUO_NUMBERS or db.session.scalar(ours) is not None:
        raise NotOne("This is a number of yours.")
    if not quo.is_number(number):
        raise NotOne("This is no phone number of one customer.")


def revoke(forgetting_id: uuid.UUID, by: User | None = None) -> None:
    """Leave the customer as they are. Idempotent. Does not commit. Raises TooLate."""
    done = db.session.execute(
        sa.update(Forgetting)
        .where(Forgetting.id == forgetting_id, Forgetting.state == State.WAITING)
        .values(
            state=State.REVOKED,
            revoked_at=now(),
            revoked_by=by.email if by else audit.SYSTEM,
            number=None,
            note=None,
            compacted_at=now(),
        )
        .execution_options(synchronize_session=False)
    )
    found = db.session.get(Forgetting, forgetting_id, populate_existing=True)
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("customer.keep", by=by, subject=("forgetting", forgetting_id))
    elif found is None or found.state is not State.REVOKED:
        raise TooLate


def of_number(number: str) -> Forgetting | None:
    """The forgetting of this number that waits or is under way."""
    return db.session.scalar(sa.select(Forgetting).filter_by(number=number))


def due() -> list[uuid.UUID]:
    """Which are to be begun or gone on with now, the oldest first."""
    waits = (Forgetting.state == State.WAITING) & (Forgetting.due_at <= now())
    return list(
        db.session.scalars(
            sa.select(Forgetting.id)
            .where(waits | (Forgetting.state == State.ERASING))
            .order_by(Forgetting.due_at)
        )
    )
