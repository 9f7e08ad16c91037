"""The files themselves: from an address at the provider to bytes of ours."""

import enum
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model, now
from viewer.models.merging import LastWriteWins

if TYPE_CHECKING:
    from viewer.models.conversations import Conversation, Message
    from viewer.models.work import MediaLink


# Parts of the table that lists and figures ask for, each with an index of its own. SQLite takes
# such an index only for a condition that is written out, like this, without parameters.
PARTS = {
    "photos": "media_type = 'photo' AND state != 'trashed'",
    "voicemails": "role = 'voicemail' AND state != 'trashed'",
    "unfiled": "is_unfiled AND state = 'stored'",
    "attention": "state IN ('needs_attention', 'damaged')",
    "unsettled": "state IN ('pending', 'downloading', 'needs_attention', 'damaged')",
}


class MediaAttachment(LastWriteWins, Model):
    """One file of a message or call: first an address at the provider, then bytes of ours.

    `attempts` is also the fencing token of the placement protocol: whoever claims the row raises
    it, and every later write of that run asks for its own value.
    """

    __tablename__ = "media_attachments"

    class State(enum.StrEnum):
        PENDING = "pending"  # the provider has it
        DOWNLOADING = "downloading"  # a job holds the lease
        STORED = "stored"  # we have it, hashed
        NEEDS_ATTENTION = "needs_attention"  # `problem` says why; we still try, slowly
        DAMAGED = "damaged"  # stored once, and now the bytes are not what they were
        TRASHED = "trashed"  # put away by a person; the bytes stay for a while

    class CopyState(enum.StrEnum):
        """Of thumbnail, preview and playable copy. Never touches the state of the original."""

        WAITING = "waiting"  # for the original
        DUE = "due"
        MADE = "made"
        IMPOSSIBLE = "impossible"  # `copy_problem` says why; the original is there all the same

    class MediaType(enum.StrEnum):
        PHOTO = "photo"
        VIDEO = "video"
        AUDIO = "audio"
        DOCUMENT = "document"

    class Role(enum.StrEnum):
        ATTACHMENT = "attachment"
        VOICEMAIL = "voicemail"
        RECORDING = "recording"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id"))
    message_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("messages.id"))
    position: Mapped[int] = mapped_column(default=0)  # within its message
    role: Mapped[Role] = mapped_column(default=Role.ATTACHMENT)

    # Storage
    file_path: Mapped[str] = mapped_column(String(500), unique=True)  # the key in every store
    # file_path without its extension, lower case: copies are named after it, so it is unique too.
    file_stem: Mapped[str] = mapped_column(String(500), unique=True)
    file_name: Mapped[str | None] = mapped_column(String(255))  # as the source called it
    file_size: Mapped[int | None] = mapped_column(BigInteger)  # bytes
    mime_type: Mapped[str | None] = mapped_column(String(100))  # sniffed, never believed
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)

    # Source
    openphone_url: Mapped[str | None] = mapped_column(sa.Text)  # None: announced without an address
    source_key: Mapped[str] = mapped_column(String(64))  # what makes the same file recognisable
    provider_id: Mapped[str | None] = mapped_column(String(255))  # VM…, CR…
    declared_type: Mapped[str | None] = mapped_column(String(100))
    downloaded_at: Mapped[datetime | None]

    # Collecting
    state: Mapped[State] = mapped_column(default=State.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None] = mapped_column(default=now)
    problem: Mapped[str | None] = mapped_column(String(500))  # in words for staff
    failures: Mapped[int] = mapped_column(default=0)  # of the source, in a row; sets the pace
    first_failed_at: Mapped[datetime | None]

    # What it is
    media_type: Mapped[MediaType] = mapped_column(default=MediaType.DOCUMENT)
    width: Mapped[int | None]  # pixels, after rotation
    height: Mapped[int | None]
    duration_seconds: Mapped[float | None]

    # Copies
    copy_state: Mapped[CopyState] = mapped_column(default=CopyState.WAITING)
    copy_attempts: Mapped[int] = mapped_column(default=0)
    copy_due_at: Mapped[datetime | None]
    copy_problem: Mapped[str | None] = mapped_column(String(500))
    thumbnail_path: Mapped[str | None] = mapped_column(String(500))
    preview_path: Mapped[str | None] = mapped_column(String(500))
    full_path: Mapped[str | None] = mapped_column(String(500))  # where browsers show no original
    playable_path: Mapped[str | None] = mapped_column(String(500))
    placeholder: Mapped[str | None] = mapped_column(sa.Text)  # a data: URI of a few pixels
    peaks: Mapped[list[Any] | None]  # loudness, 0 to 100

    # What people did with it
    caption: Mapped[str | None] = mapped_column(String(300))
    # Sent to us, and nobody has linked it or said that it is not needed.
    is_unfiled: Mapped[bool] = mapped_column(default=False)
    not_needed_at: Mapped[datetime | None]
    linked_at: Mapped[datetime | None]  # since when it belongs to a record; its links see to it
    trashed_at: Mapped[datetime | None]
    trashed_by: Mapped[str | None] = mapped_column(String(254))  # the e-mail address then
    # Given up for good: the row stays as a tombstone with its hash. Its bytes follow, to the
    # store's quarantine; they are never the first to go.
    purged_at: Mapped[datetime | None]
    quarantined_at: Mapped[datetime | None]

    sent_at: Mapped[datetime] = mapped_column(default=now)  # its message's: what lists go by
    created_at: Mapped[datetime] = mapped_column(default=now)

    conversation: Mapped["Conversation"] = relationship(back_populates="media")
    message: Mapped["Message"] = relationship(back_populates="media")
    links: Mapped[list["MediaLink"]] = relationship(back_populates="media")

    __table_args__ = (
        sa.Index("idx_conversation", "conversation_id", "created_at"),
        sa.Index("idx_message", "message_id"),
        *(
            # In the order in which the gallery shows them and the viewer swipes.
            sa.Index(
                f"ix_media_attachments_{name}",
                *equal,
                "sent_at",
                "message_id",
                "position",
                "id",
                sqlite_where=sa.text(which) if which else None,
                postgresql_where=sa.text(which) if which else None,
            )
            for name, equal, which in (
                ("gallery", [], None),
                ("gallery_of", ["conversation_id"], None),
                ("kind", ["media_type"], None),
                ("linked", [], "linked_at IS NOT NULL"),
                ("set_aside", [], "not_needed_at IS NOT NULL"),
                ("unsettled", [], PARTS["unsettled"]),
                ("unfiled_gallery", [], PARTS["unfiled"]),
            )
        ),
        sa.Index(
            "ix_media_attachments_unfiled",
            "sent_at",
            "id",
            sqlite_where=sa.text(PARTS["unfiled"]),
            postgresql_where=sa.text(PARTS["unfiled"]),
        ),
        *(
            # By which the inbox asks whether a conversation has any.
            sa.Index(
                f"ix_media_attachments_{name}",
                "conversation_id",
                sqlite_where=sa.text(PARTS[part]),
                postgresql_where=sa.text(PARTS[part]),
            )
            for name, part in (
                ("photos_of", "photos"),
                ("voicemails_of", "voicemails"),
                ("unfiled_of", "unfiled"),
                ("attention", "attention"),
            )
        ),
        sa.Index(
            "ix_media_attachments_not_needed",
            "not_needed_at",
            "id",
            sqlite_where=sa.text("not_needed_at IS NOT NULL"),
            postgresql_where=sa.text("not_needed_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_media_attachments_trash",
            "trashed_at",
            "id",
            sqlite_where=sa.text("state = 'trashed'"),
            postgresql_where=sa.text("state = 'trashed'"),
        ),
        sa.UniqueConstraint("message_id", "source_key", name="uq_media_attachments_source"),
        sa.CheckConstraint(
            "state != 'stored' OR (sha256 IS NOT NULL AND file_size > 0)", name="stored_has_bytes"
        ),
        # What the sweep asks for: few rows, whatever the size of the table.
        sa.Index(
            "ix_media_attachments_due",
            "next_attempt_at",
            sqlite_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
            postgresql_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
        ),
        sa.Index(
            "ix_media_attachments_copies_due",
            "copy_due_at",
            sqlite_where=sa.text("copy_state = 'due'"),
            postgresql_where=sa.text("copy_state = 'due'"),
        ),
    )

    @property
    def is_stored(self) -> bool:
        return self.state is self.State.STORED

    @property
    def needs_attention(self) -> bool:
        return self.state in (self.State.NEEDS_ATTENTION, self.State.DAMAGED)

    @property
    def is_on_its_way(self) -> bool:
        return self.state in (self.State.PENDING, self.State.DOWNLOADING)

    @property
    def copies(self) -> dict[str, str]:
        """What was made of it: thumbnail, preview, full, playable; and under which key each lies.

        Those for shares are not among them: they are made as they are asked for.
        """
        made = {
            "thumbnail": self.thumbnail_path, "preview": self.preview_path,
            "full": self.full_path, "playable": self.playable_path,
        }  # fmt: skip
        return {name: key for name, key in made.items() if key is not None}

    @property
    def has_thumbnail(self) -> bool:
        return self.thumbnail_path is not None

    @property
    def has_playable(self) -> bool:
        return self.playable_path is not None
