"""Work records that media are linked to: quotes, appointments, invoices.

Money is in minor units (cents). One table holds the three kinds, so that one link fits them all.
"""

import enum
import uuid
from datetime import date, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model, now
from viewer.models.indexes import partial_index
from viewer.models.media import LONGEST_CAPTION, MediaAttachment

if TYPE_CHECKING:
    from viewer.models.conversations import Conversation


class WorkRecord(Model):
    """A quote, an appointment or an invoice of a conversation's customer."""

    __tablename__ = "work_records"

    class Kind(enum.StrEnum):
        QUOTE = "quote"
        APPOINTMENT = "appointment"
        INVOICE = "invoice"

    class Status(enum.StrEnum):
        """Which of them a kind may have: `STATUSES`."""

        DRAFT = "draft"
        SENT = "sent"
        APPROVED = "approved"
        DECLINED = "declined"
        PLANNED = "planned"
        DONE = "done"
        CANCELED = "canceled"
        PAID = "paid"
        VOID = "void"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[Kind]
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id"), index=True)
    number: Mapped[str | None] = mapped_column(String(40))  # Q-104, INV-2031
    title: Mapped[str] = mapped_column(String(200), default="")
    status: Mapped[Status]
    amount: Mapped[int | None] = mapped_column(BigInteger)  # minor units
    sent_at: Mapped[datetime | None]  # quotes
    starts_at: Mapped[datetime | None]  # appointments
    visit: Mapped[str | None] = mapped_column(String(60))  # appointments: inspection, repair, …
    place: Mapped[str | None] = mapped_column(String(300))  # appointments
    due_on: Mapped[date | None]  # invoices
    external_reference: Mapped[str | None] = mapped_column(String(120))  # QuickBooks, calendar
    external_url: Mapped[str | None] = mapped_column(String(500))
    notes: Mapped[str] = mapped_column(sa.Text, default="")
    cover_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("media_attachments.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL")
    )
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    archived_at: Mapped[datetime | None]

    conversation: Mapped["Conversation"] = relationship()
    links: Mapped[list["MediaLink"]] = relationship(
        back_populates="record", order_by="MediaLink.position", cascade="all, delete-orphan"
    )

    # As SQL, for the indexes and for who wants to use them: SQLite asks for the very same words.
    ARCHIVED, NOT_ARCHIVED = "archived_at IS NOT NULL", "archived_at IS NULL"
    TO_DO = "archived_at IS NULL AND status IN ('draft', 'sent', 'planned')"  # as `OPEN` below

    __table_args__ = (
        sa.Index("ix_work_records_listed", "kind", "created_at", "id"),
        sa.Index("ix_work_records_starts", "kind", "starts_at", "id"),
        sa.Index("ix_work_records_newest", "created_at", "id"),
        partial_index("ix_work_records_status", NOT_ARCHIVED, "kind", "status", "created_at", "id"),
        partial_index("ix_work_records_visits", NOT_ARCHIVED, "kind", "status", "starts_at", "id"),
        partial_index("ix_work_records_to_do", TO_DO, "created_at", "id"),
        partial_index("ix_work_records_to_do_of", TO_DO, "kind", "created_at", "id"),
        partial_index("ix_work_records_archived", ARCHIVED, "created_at", "id"),
        partial_index("ix_work_records_archived_of", ARCHIVED, "kind", "created_at", "id"),
        sa.UniqueConstraint("kind", "number", name="uq_work_records_number"),
        sa.CheckConstraint("amount IS NULL OR amount >= 0", name="amount_not_negative"),
        sa.CheckConstraint("kind != 'appointment' OR starts_at IS NOT NULL", name="visit_has_time"),
    )

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done about it."""
        return self.archived_at is None and self.status in OPEN


_Kind, _Status = WorkRecord.Kind, WorkRecord.Status
STATUSES = {
    _Kind.QUOTE: (_Status.DRAFT, _Status.SENT, _Status.APPROVED, _Status.DECLINED),
    _Kind.APPOINTMENT: (_Status.PLANNED, _Status.DONE, _Status.CANCELED),
    _Kind.INVOICE: (_Status.DRAFT, _Status.SENT, _Status.PAID, _Status.VOID),
}
OPEN = frozenset({_Status.DRAFT, _Status.SENT, _Status.PLANNED})


class WorkEntry(Model):
    """What a search of the work finds a record by. Folded, as the words of `SearchEntry` are.

    Triggers keep `customer` what the search knows of the conversation, and the full text beside
    the table what stands in it; the migration makes them. Ids grow: the newest record has the
    highest.
    """

    __tablename__ = "work_entries"

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    record_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("work_records.id", ondelete="CASCADE"), unique=True
    )
    own: Mapped[str] = mapped_column(sa.Text)  # number, title, place, reference
    customer: Mapped[str] = mapped_column(sa.Text, default="")  # names and numbers

    record: Mapped[WorkRecord] = relationship()


class MediaLink(Model):
    """This media attachment belongs to this work record."""

    __tablename__ = "media_links"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    media_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("media_attachments.id"))
    record_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("work_records.id", ondelete="CASCADE"), index=True
    )
    position: Mapped[int] = mapped_column(default=0)  # within its record
    caption: Mapped[str | None] = mapped_column(String(LONGEST_CAPTION))  # here, of this photo
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL")
    )

    media: Mapped[MediaAttachment] = relationship(back_populates="links")
    record: Mapped[WorkRecord] = relationship(back_populates="links")

    __table_args__ = (sa.UniqueConstraint("media_id", "record_id", name="uq_media_links_once"),)


# A file knows whether it is linked: a gallery of many thousands cannot ask the links of each. Told
# here, where links are made and ended, whoever does it.
@sa.event.listens_for(MediaLink, "after_insert")
def _tell_linked(_mapper: object, connection: sa.Connection, link: MediaLink) -> None:
    connection.execute(
        sa.update(MediaAttachment)
        .where(MediaAttachment.id == link.media_id, MediaAttachment.linked_at.is_(None))
        .values(linked_at=link.created_at)
    )


@sa.event.listens_for(MediaLink, "after_delete")
def _tell_unlinked(_mapper: object, connection: sa.Connection, link: MediaLink) -> None:
    others = sa.select(MediaLink.id).where(MediaLink.media_id == link.media_id).exists()
    connection.execute(
        sa.update(MediaAttachment)
        .where(MediaAttachment.id == link.media_id, ~others)
        .values(linked_at=None)
    )


class Evidence(Model):
    """What a quote was priced from, as it was when the quote was sent. Never changed."""

    __tablename__ = "evidence"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    record_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("work_records.id"), index=True)
    taken_at: Mapped[datetime] = mapped_column(default=now)
    taken_by: Mapped[str] = mapped_column(String(254), default="")  # the e-mail address then
    number: Mapped[str | None] = mapped_column(String(40))  # of the quote, then
    title: Mapped[str] = mapped_column(String(200), default="")
    amount: Mapped[int | None] = mapped_column(BigInteger)  # minor units
    customer: Mapped[str] = mapped_column(sa.Text, default="")  # as we called them then
    sent_at: Mapped[datetime] = mapped_column(default=now)  # may have been told a day later

    record: Mapped[WorkRecord] = relationship()
    items: Mapped[list["EvidenceItem"]] = relationship(order_by="EvidenceItem.position")


class EvidenceItem(Model):
    """One file of an evidence: which bytes, and what was said of them."""

    __tablename__ = "evidence_items"

    evidence_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("evidence.id"), primary_key=True)
    media_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("media_attachments.id"), primary_key=True, index=True
    )
    position: Mapped[int]
    caption: Mapped[str | None] = mapped_column(String(LONGEST_CAPTION))
    sha256: Mapped[str] = mapped_column(String(64))
    file_size: Mapped[int] = mapped_column(BigInteger)
    mime_type: Mapped[str] = mapped_column(String(100))
    file_path: Mapped[str] = mapped_column(String(500))
    sent_at: Mapped[datetime]  # by the customer
    sender: Mapped[str | None] = mapped_column(String(60))  # canonical number

    media: Mapped[MediaAttachment] = relationship()
