"""Links for people without an account: a customer, an insurer."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model, now
from viewer.models.media import MediaAttachment
from viewer.models.people import User
from viewer.models.work import WorkRecord


class Share(Model):
    """Chosen media behind a secret URL, until it expires or is revoked."""

    __tablename__ = "shares"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    record_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("work_records.id"), index=True)
    passphrase_hash: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL")
    )
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    views: Mapped[int] = mapped_column(default=0)
    viewed_at: Mapped[datetime | None]

    record: Mapped[WorkRecord | None] = relationship()
    created_by: Mapped[User | None] = relationship()
    items: Mapped[list["ShareItem"]] = relationship(
        order_by="ShareItem.position", cascade="all, delete-orphan"
    )

    __table_args__ = (sa.Index("ix_shares_listed", "created_at", "id"),)

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    @property
    def last_moment(self) -> datetime:
        """The last moment in which it works: an expiry at midnight belongs to the next day."""
        return self.expires_at - timedelta(microseconds=1)

    @property
    def has_expired(self) -> bool:
        return now() >= self.expires_at

    @property
    def is_open(self) -> bool:
        return not self.is_revoked and not self.has_expired


class ShareItem(Model):
    """One file behind a share."""

    __tablename__ = "share_items"

    share_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("shares.id", ondelete="CASCADE"), primary_key=True
    )
    media_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("media_attachments.id"), primary_key=True, index=True
    )
    position: Mapped[int]

    media: Mapped[MediaAttachment] = relationship()
