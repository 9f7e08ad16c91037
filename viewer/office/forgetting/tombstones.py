"""What a backup keeps beside its snapshots: whom a restored older one must forget again."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    Forgetting,
    ForgottenId,
    ForgottenNumber,
    Message,
)
from viewer.models.forgetting import digest_of, forgetting_key, make_forgetting_key
from viewer.office.forgetting.rows import erase

State = Forgetting.State


def tombstones() -> dict[uuid.UUID, dict[str, Any]]:
    """Of each forgetting whose rows are gone: digests and the receipt, no number and no name."""
    found: dict[uuid.UUID, dict[str, Any]] = {}
    for number, one in db.session.execute(
        sa.select(ForgottenNumber, Forgetting)
        .join(Forgetting, ForgottenNumber.forgetting_id == Forgetting.id)
        .where(Forgetting.erased_at.is_not(None))
    ):
        ids = db.session.scalars(sa.select(ForgottenId.digest).filter_by(forgetting_id=one.id))
        found[one.id] = {
            "id": str(one.id),
            "key": forgetting_key(),
            "number": number.digest,
            "pseudonym": number.pseudonym,
            "before": number.before.isoformat(),
            "reason": one.reason.value,
            "asked_at": one.asked_at.isoformat(),
            "asked_by": one.asked_by,
            "ids": sorted(ids),
        }
    db.session.commit()
    return found


def apply_tombstone(told: dict[str, Any]) -> bool:
    """Forget this customer again, in a database of before. Whether there was anybody. Commits."""
    identity, before = uuid.UUID(told["id"]), datetime.fromisoformat(told["before"])
    if db.session.get(Forgetting, identity) is not None:
        db.session.rollback()
        known = _known_state(identity)
        if known is not State.WAITING:
            return erase(identity)
    lock(Lock.INGEST)
    key = make_forgetting_key(told["key"])
    number = _number_of(key, told["number"])
    found = db.session.get(Forgetting, identity, populate_existing=True, with_for_update=True)
    if found is None:
        found = Forgetting(
            id=identity,
            reason=Forgetting.Reason(told["reason"]),
            asked_at=datetime.fromisoformat(told["asked_at"]),
            asked_by=told["asked_by"],
            due_at=before,
            counts={},
            remarks=[],
        )
        db.session.add(found)
    found.number, found.begun_at = number, before
    found.state = State.ERASING
    if number is None:  # they are not in this snapshot; what is repeated is kept out all the same
        found.state, found.erased_at, found.cleared_at, found.done_at = (
            State.DONE, before, before, now(),
        )  # fmt: skip
        found.compacted_at = now()
    found.remark("Forgotten again after an older backup was restored.")
    db.session.flush()
    if db.session.get(ForgottenNumber, told["number"]) is None:
        db.session.add(
            ForgottenNumber(
                digest=told["number"], pseudonym=told["pseudonym"], before=before,
                forgetting_id=identity,
            )
        )  # fmt: skip
    for digest in told["ids"]:
        if db.session.get(ForgottenId, digest) is None:
            db.session.add(ForgottenId(digest=digest, forgetting_id=identity))
    db.session.commit()
    return number is not None and erase(identity)


def _known_state(identity: uuid.UUID) -> State:
    state = db.session.scalars(sa.select(Forgetting.state).filter_by(id=identity)).one()
    db.session.rollback()
    return state


def _number_of(key: str, digest: str) -> str | None:
    """The number that has this digest, of those in the database."""
    for query in (
        sa.select(Conversation.participants).distinct(),
        sa.select(ContactNumber.number).join(Contact).distinct(),
        sa.select(Message.sender).where(Message.sender.is_not(None)).distinct(),
    ):
        for told in db.session.scalars(query):
            for number in (told or "").split(","):
                if number and digest_of(key, "number", number) == digest:
                    return number
    return None
