"""Customers who are forgotten: who asked, what is still to be erased, what must not come back.

The provider repeats old deliveries, and the catch-up reads its history. What tells those apart from
what is new holds no number and no id in the clear: only their HMAC.
"""

import enum
import hashlib
import hmac
import json
import secrets
import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Model, db, now
from viewer.models.checkpoints import Checkpoint

_KEY = "forgetting key"


class Forgetting(Model):
    """One customer to be forgotten. Once that is done, the receipt: it holds no personal data."""

    __tablename__ = "forgettings"

    class State(enum.StrEnum):
        WAITING = "waiting"  # may be revoked until `due_at`
        REVOKED = "revoked"
        ERASING = "erasing"  # rows go
        CLEARING = "clearing"  # bytes go, on each host that has some
        COMPACTING = "compacting"  # nothing names them any more; their traces go
        DONE = "done"

    class Reason(enum.StrEnum):
        """A fixed list: free words might name the customer, and the receipt stays."""

        REQUEST = "request"  # the customer asked
        CONSENT = "consent"  # the customer took back a consent
        PURPOSE = "purpose"  # kept for nothing any more
        MISTAKE = "mistake"  # a wrong number, a private message
        ORDER = "order"  # a court or an authority

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    number: Mapped[str | None] = mapped_column(String(60))  # until rows and bytes are gone
    reason: Mapped[Reason]
    note: Mapped[str | None] = mapped_column(sa.Text)  # until then, too
    state: Mapped[State] = mapped_column(default=State.WAITING)
    asked_at: Mapped[datetime] = mapped_column(default=now)
    asked_by: Mapped[str] = mapped_column(String(254))  # staff: the e-mail address then
    due_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(254))
    begun_at: Mapped[datetime | None]  # what was sent before this does not come back
    erased_at: Mapped[datetime | None]  # the rows
    cleared_at: Mapped[datetime | None]  # the bytes
    done_at: Mapped[datetime | None]
    # None while old bytes may lie in the database's files: also after a repeat of an old delivery.
    compacted_at: Mapped[datetime | None]
    # What was erased and kept, by kind.
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    remarks: Mapped[list[Any]] = mapped_column(default=list)  # what could not be erased, and why

    @property
    def is_waiting(self) -> bool:
        return self.state is self.State.WAITING

    def count(self, **more: int) -> None:
        """Add to the counts, in the transaction that erases."""
        found = dict(self.counts)
        for kind, number in more.items():
            if number:
                found[kind] = found.get(kind, 0) + number
        self.counts = found

    def remark(self, words: str) -> None:
        if words not in self.remarks:
            self.remarks = [*self.remarks, words]

    @property
    def receipt(self) -> dict[str, Any]:
        """What stays: no number, no name, no words of anybody."""
        told: dict[str, Any] = {
            "id": str(self.id),
            "reason": self.reason.value,
            "asked_at": _stamp(self.asked_at),
            "asked_by": self.asked_by,
            "begun_at": _stamp(self.begun_at),
            "erased_at": _stamp(self.erased_at),
            "cleared_at": _stamp(self.cleared_at),
            "done_at": _stamp(self.done_at),
            "counts": dict(sorted(self.counts.items())),
            "remarks": self.remarks,
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return {**told, "sha256": digest}

    @classmethod
    def note_repeat(cls) -> None:
        """What was repeated lay in the database for a moment: its traces go with the next night."""
        db.session.execute(
            sa.update(cls)
            .where(cls.state == cls.State.DONE, cls.compacted_at.is_not(None))
            .values(compacted_at=None)
            .execution_options(synchronize_session=False)
        )


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


class ForgottenNumber(Model):
    """A number whose messages of before `before` are not taken again."""

    __tablename__ = "forgotten_numbers"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    # By what the number is replaced in the conversations of others; by chance, and for this once.
    pseudonym: Mapped[str] = mapped_column(String(60))
    before: Mapped[datetime]
    forgetting_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("forgettings.id"), index=True)


class ForgottenId(Model):
    """A message, call or contact of the provider's that is not taken again, whoever repeats it."""

    __tablename__ = "forgotten_ids"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    forgetting_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("forgettings.id"), index=True)


class Erasure(Model):
    """The bytes of one file, which no row names any more, in one store that may have them."""

    __tablename__ = "erasures"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    forgetting_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("forgettings.id"), index=True)
    storage: Mapped[uuid.UUID] = mapped_column(ForeignKey("stores.id"))
    media_id: Mapped[uuid.UUID | None]  # its row is gone; None: it stays, under another key
    file_path: Mapped[str] = mapped_column(String(500))
    superseded_path: Mapped[str | None] = mapped_column(String(500))
    due_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None]  # once; looked at again, as a worker may have been at it

    __table_args__ = (sa.Index("ix_erasures_due", "storage", "due_at"),)


# --- What tells the forgotten from the new ---------------------------------------------------


def forgetting_key() -> str | None:
    """The key of the digests; None while nobody was ever forgotten. Each delivery asks."""
    return db.session.scalar(_SELECT_KEY)


_SELECT_KEY = sa.select(Checkpoint.value).filter_by(name=_KEY)


def make_forgetting_key(known: str | None = None) -> str:
    """The key, made at first; `known` is the one of the backup that is restored."""
    key = forgetting_key() or known or secrets.token_hex(32)
    Checkpoint.write(_KEY, key)
    return key


def digest_of(key: str, kind: str, value: str) -> str:
    """`kind` is number, message or contact."""
    return hmac.new(bytes.fromhex(key), f"{kind} {value}".encode(), hashlib.sha256).hexdigest()


def forgotten_numbers(key: str, numbers: set[str]) -> dict[str, ForgottenNumber]:
    """Those of these numbers that were forgotten."""
    wanted = {digest_of(key, "number", number): number for number in numbers}
    rows = db.session.scalars(
        sa.select(ForgottenNumber).where(ForgottenNumber.digest.in_(list(wanted)))
    )
    return {wanted[row.digest]: row for row in rows}


def forgotten_id(key: str, kind: str, provider_id: str) -> ForgottenId | None:
    return db.session.get(ForgottenId, digest_of(key, kind, provider_id))
