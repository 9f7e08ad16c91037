"""Media attachments: from a URL at the provider to stored bytes."""

import enum
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer import derive
from viewer.extensions import Model, db, now
from viewer.models.indexes import condition_on, partial_index
from viewer.models.merging import LastWriteWins

if TYPE_CHECKING:
    from viewer.models.conversations import Conversation, Message
    from viewer.models.work import MediaLink


Moment = datetime | sa.BindParameter[datetime]

# Parts of the table that lists, figures and jobs ask for: conditions of partial indexes.
PARTS = {
    "photos": "media_type = 'photo' AND state NOT IN ('trashed', 'duplicate')",
    "voicemails": "role = 'voicemail' AND state NOT IN ('trashed', 'duplicate')",
    "unfiled": "is_unfiled AND state = 'stored'",
    # What a person should look at.
    "attention": "(state IN ('needs_attention', 'damaged')"
    " OR (state = 'stored' AND trouble = 'incomplete' AND accepted_at IS NULL))",
    "incomplete": "state = 'stored' AND trouble = 'incomplete' AND accepted_at IS NULL",
    # A file that is here has a next attempt only if it came cut off.
    "to_ask_again": "state = 'stored' AND next_attempt_at IS NOT NULL",
    # All that are not simply here.
    "unsettled": "(state IN ('pending', 'downloading', 'needs_attention', 'damaged', 'closed')"
    " OR trouble IS NOT NULL)",
    # The same, for health and the sweep: what is always true keeps the gallery off this index,
    # which has not the gallery's order.
    "open": "state IN ('pending', 'downloading', 'needs_attention', 'damaged')"
    " AND created_at IS NOT NULL",
    "linked": "linked_at IS NOT NULL",
    "not_needed": "not_needed_at IS NOT NULL",
    "trash": "state = 'trashed'",
    "quarantined": "quarantined_at IS NOT NULL AND quarantine_emptied_at IS NULL",
    "recordings": "role = 'recording' AND state = 'stored'",
    "to_collect": "state IN ('pending', 'downloading', 'needs_attention')",
    "leased": "state = 'downloading'",
    "to_derive": "copy_state = 'due'",
    "to_push": "push_due_at IS NOT NULL",  # into the store that is wanted for new files
    "moved": "former_storage IS NOT NULL",  # and its former store has it, too
    "kept": "downloaded_at IS NOT NULL AND purged_at IS NULL",  # has bytes in a store
}
# Files that are selected, linked or shared at once. So many are a day's work, are named in one form
# of 45 kB, and are read by one query without a page of their own.
MOST_FILES = 500
LONGEST_CAPTION = 300  # characters; of a file, and of its link to a work record
LONGEST_REASON = 300  # characters; why a file was closed

_CARRIER_PARTS = sorted(kind.mime_type for kind in derive.KINDS.values() if kind.is_carrier_part)
_SWIPED = ("sent_at", "message_id", "position", "id")


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
        CLOSED = "closed"  # never came, and a person said that nobody waits for it any more
        TRASHED = "trashed"  # put away by a person; the bytes stay for a while
        DUPLICATE = "duplicate"  # stored, and shown as another row of its message: see `shown_as`

    class Trouble(enum.StrEnum):
        """What is wrong with it; `problem` and `copy_problem` say it in words."""

        UNAVAILABLE = "unavailable"  # the provider has not got it, or does not answer
        REFUSED = "refused"  # by our own rules: too large, or an address that we do not ask
        NOT_THE_FILE = "not_the_file"  # an error page came in its place, and is kept
        DOUBTFUL = "doubtful"  # perhaps an error page: a person decides
        INCOMPLETE = "incomplete"  # stored, but cut or broken as it was sent

    class Closing(enum.StrEnum):
        """How a person closed a file that did not come."""

        CAME_ANOTHER_WAY = "came_another_way"
        GIVEN_UP = "given_up"

    class Availability(enum.StrEnum):
        """The state of a file in the words that people and programs are told: one for each."""

        ON_ITS_WAY = "on_its_way"
        HERE = "here"
        INCOMPLETE = "incomplete"  # here, but cut or broken as it was sent
        NOT_AVAILABLE = "not_available"  # at the provider
        NOT_DOWNLOADED = "not_downloaded"  # by our own rules
        NOT_THE_FILE = "not_the_file"
        DOUBTFUL = "doubtful"
        DAMAGED = "damaged"  # in our store; a preview may be shown
        CAME_ANOTHER_WAY = "came_another_way"
        GIVEN_UP = "given_up"
        IN_TRASH = "in_trash"

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
    # The store of the original and its derivatives. `holdings` finds it.
    storage: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("stores.id"))
    former_storage: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("stores.id"))
    moved_at: Mapped[datetime | None]  # from the former store
    push_wanted_at: Mapped[datetime | None]  # since when the store for new files should have it
    push_due_at: Mapped[datetime | None]  # the next try
    push_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    push_problem: Mapped[str | None] = mapped_column(String(500))
    verified_at: Mapped[datetime | None]  # when its bytes were last hashed; first as they came

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
    trouble: Mapped[Trouble | None]
    # The key of the bytes that came first, cut off, after all of them came. They go to the
    # store's quarantine; then nothing names them.
    superseded_path: Mapped[str | None] = mapped_column(String(500))

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
    full_path: Mapped[str | None] = mapped_column(
        String(500)
    )  # where browsers show no original, or not alike
    playable_path: Mapped[str | None] = mapped_column(String(500))
    placeholder: Mapped[str | None] = mapped_column(sa.Text)  # a data: URI of a few pixels
    peaks: Mapped[list[Any] | None]  # loudness, 0 to 100

    # What people did with it
    caption: Mapped[str | None] = mapped_column(String(LONGEST_CAPTION))
    is_unfiled: Mapped[bool] = mapped_column(default=False)  # as `waits_in_tray` says
    not_needed_at: Mapped[datetime | None]
    linked_at: Mapped[datetime | None]  # since when it belongs to a record; its links see to it
    trashed_at: Mapped[datetime | None]
    trashed_by: Mapped[str | None] = mapped_column(String(254))  # the e-mail address then
    accepted_at: Mapped[datetime | None]  # a person said that it is all there is, or the file
    closed_at: Mapped[datetime | None]
    closed_as: Mapped[Closing | None]
    closed_reason: Mapped[str | None] = mapped_column(String(LONGEST_REASON))
    # Given up for good: the row stays as a tombstone with its hash. Its bytes follow, to the
    # store's quarantine; they are never the first to go.
    purged_at: Mapped[datetime | None]
    quarantined_at: Mapped[datetime | None]
    quarantine_emptied_at: Mapped[datetime | None]  # QUARANTINE_DAYS later: then its bytes are gone

    sent_at: Mapped[datetime] = mapped_column(default=now)  # its message's: what lists go by
    created_at: Mapped[datetime] = mapped_column(default=now)

    conversation: Mapped["Conversation"] = relationship(back_populates="media")
    message: Mapped["Message"] = relationship(back_populates="media")
    links: Mapped[list["MediaLink"]] = relationship(back_populates="media")

    __table_args__ = (
        sa.Index("idx_conversation", "conversation_id", "created_at"),
        sa.Index("idx_message", "message_id"),
        # In the order in which the gallery shows them and the lightbox swipes.
        sa.Index("ix_media_attachments_gallery", *_SWIPED),
        sa.Index("ix_media_attachments_gallery_of", "conversation_id", *_SWIPED),
        sa.Index("ix_media_attachments_kind", "media_type", *_SWIPED),
        *(
            partial_index(f"ix_media_attachments_{name}", PARTS[part], *_SWIPED)
            for name, part in (
                ("linked", "linked"),
                ("set_aside", "not_needed"),
                ("unsettled", "unsettled"),
                ("unfiled_gallery", "unfiled"),
            )
        ),
        *(
            # By which the inbox asks whether a conversation has any.
            partial_index(f"ix_media_attachments_{name}", PARTS[part], "conversation_id")
            for name, part in (
                ("photos_of", "photos"),
                ("voicemails_of", "voicemails"),
                ("unfiled_of", "unfiled"),
                ("attention", "attention"),
                ("incomplete", "incomplete"),
            )
        ),
        *(
            # A list or a job reads each in this order, and few rows, whatever the table's size.
            partial_index(f"ix_media_attachments_{name}", PARTS[part], *order)
            for name, part, order in (
                ("unfiled", "unfiled", ("sent_at", "id")),
                ("not_needed", "not_needed", ("not_needed_at", "id")),
                ("trash", "trash", ("trashed_at", "id")),
                ("quarantined", "quarantined", ("quarantined_at",)),
                ("recordings", "recordings", ("sent_at",)),
                ("due", "to_collect", ("next_attempt_at",)),
                ("leases", "leased", ("lease_until",)),
                ("ask_again", "to_ask_again", ("next_attempt_at",)),
                ("copies_due", "to_derive", ("copy_due_at",)),
                ("to_push", "to_push", ("storage", "push_due_at")),
                ("moved", "moved", ("moved_at",)),
                ("to_verify", "kept", ("storage", "verified_at")),
                # By which health is told: how many wait, since when, and what came since.
                ("open", "open", ("state", "created_at")),
                ("attention_oldest", "attention", ("created_at", "id")),
                ("kept_since", "kept", ("downloaded_at", "storage", "state", "file_size")),
            )
        ),
        sa.UniqueConstraint("message_id", "source_key", name="uq_media_attachments_source"),
        sa.CheckConstraint(
            "state != 'stored' OR (sha256 IS NOT NULL AND file_size > 0 AND storage IS NOT NULL"
            " AND verified_at IS NOT NULL)",
            name="stored_has_bytes",
        ),
    )

    @classmethod
    def is_in(cls, part: str) -> sa.ColumnElement[bool]:
        """One of `PARTS`, so that its index is used."""
        return condition_on(cls, PARTS[part])

    @classmethod
    def is_due(cls, moment: Moment) -> sa.ColumnElement[bool]:
        """Whether a job may claim it to download it: a retry is due, or a lease has expired."""
        return sa.and_(
            cls.is_in("to_collect"),
            cls.openphone_url.is_not(None),
            cls.is_attempt_due(moment) | cls.has_expired_lease(moment),
        )

    @classmethod
    def is_attempt_due(cls, moment: Moment) -> sa.ColumnElement[bool]:
        """Whether its first or next attempt is due, and nobody is at it."""
        waits = cls.state.in_((cls.State.PENDING, cls.State.NEEDS_ATTENTION))
        return waits & (cls.next_attempt_at <= moment)

    @classmethod
    def has_expired_lease(cls, moment: Moment) -> sa.ColumnElement[bool]:
        """Whether its lease has expired: the job died, since a live one renews it."""
        return cls.is_in("leased") & (cls.lease_until < moment)

    @classmethod
    def is_due_to_ask_again(cls, moment: Moment) -> sa.ColumnElement[bool]:
        """Whether a job may claim it to ask the provider for more of it."""
        return sa.and_(cls.is_in("to_ask_again"), cls.next_attempt_at <= moment)

    @classmethod
    def is_due_to_derive(cls, moment: Moment) -> sa.ColumnElement[bool]:
        """Whether a job may claim it to make its derivatives."""
        return sa.and_(cls.is_in("to_derive"), cls.copy_due_at <= moment)

    def waits_in_tray(self, *, is_incoming: bool, is_linked: bool) -> bool:
        """Whether it is unfiled: received, neither linked nor marked as not needed."""
        return (
            is_incoming
            and self.role is self.Role.ATTACHMENT
            and self.not_needed_at is None
            and not is_linked
            and not derive.is_carrier_part(self.mime_type)  # the bytes decide, not what was said
        )

    @classmethod
    def was_sent(cls) -> sa.ColumnElement[bool]:
        """Whether it is not a part that a carrier added; for lists of what people sent."""
        return cls.mime_type.is_(None) | cls.mime_type.not_in(_CARRIER_PARTS)

    @property
    def is_carrier_part(self) -> bool:
        """Whether a carrier added it to the message, as the layout of its parts: nobody sent it."""
        return derive.is_carrier_part(self.mime_type or self.declared_type)

    @classmethod
    def is_listed(cls) -> sa.ColumnElement[bool]:
        """Whether lists and counts have it: neither in the trash nor a duplicate."""
        return cls.state.not_in((cls.State.TRASHED, cls.State.DUPLICATE))

    def shown_as(self) -> "MediaAttachment":
        """The row that is shown for this one: itself, except for a duplicate."""
        if self.state is not self.State.DUPLICATE:
            return self
        other = db.session.scalar(
            sa.select(MediaAttachment)
            .filter_by(message_id=self.message_id, role=self.role, sha256=self.sha256)
            .where(MediaAttachment.state != self.State.DUPLICATE)
            .order_by(MediaAttachment.downloaded_at, MediaAttachment.id)
            .limit(1)
        )
        return other or self

    @classmethod
    def change_if(
        cls, media_id: uuid.UUID, *conditions: sa.ColumnElement[bool], **values: object
    ) -> bool:
        """Update this row if it meets all conditions. Whether it did. Does not commit.

        One statement, so that nobody comes between the look and the change. Loaded objects keep
        their old values.
        """
        done = db.session.execute(
            sa.update(cls)
            .where(cls.id == media_id, *conditions)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        return bool(done.rowcount)  # type: ignore[attr-defined]

    def reopen(self, next_attempt_at: datetime | None) -> None:
        """Wait for a closed file again."""
        self.state = self.State.NEEDS_ATTENTION
        self.closed_at = self.closed_as = self.closed_reason = None
        self.next_attempt_at, self.failures, self.first_failed_at = next_attempt_at, 0, None

    @property
    def is_stored(self) -> bool:
        return self.state is self.State.STORED

    @property
    def availability(self) -> Availability:
        return availability_of(self.state, self.trouble, self.closed_as)

    @property
    def is_incomplete(self) -> bool:
        """Whether it is here, but cut or broken as it was sent."""
        return self.is_stored and self.trouble is self.Trouble.INCOMPLETE

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look at it: the part "attention" of the table."""
        return asks_for_attention(self.state, self.trouble, self.accepted_at)

    @property
    def is_on_its_way(self) -> bool:
        return self.state in (self.State.PENDING, self.State.DOWNLOADING)

    @property
    def copies(self) -> dict[str, str]:
        """Its derivatives (thumbnail, preview, full, playable) with their keys.

        Without the clean copies for shares, which are made on demand.
        """
        made = {
            "thumbnail": self.thumbnail_path, "preview": self.preview_path,
            "full": self.full_path, "playable": self.playable_path,
        }  # fmt: skip
        return {name: key for name, key in made.items() if key is not None}

    @property
    def is_damaged(self) -> bool:
        return self.state is self.State.DAMAGED

    @property
    def has_thumbnail(self) -> bool:
        return self.thumbnail_path is not None

    @property
    def has_picture(self) -> bool:
        """Whether its thumbnail is shown: also if the original is damaged."""
        return self.has_thumbnail and (self.is_stored or self.is_damaged)

    @property
    def is_known_not_to_play(self) -> bool:
        """Whether decoding found that nothing can be seen or heard of this sound or film."""
        is_track = self.media_type in (self.MediaType.AUDIO, self.MediaType.VIDEO)
        has_none = not (self.thumbnail_path or self.playable_path or self.peaks)
        return is_track and has_none and self.copy_state is self.CopyState.IMPOSSIBLE

    @property
    def has_playable(self) -> bool:
        return self.playable_path is not None


# --- In one word -----------------------------------------------------------------------------

_State, _Trouble = MediaAttachment.State, MediaAttachment.Trouble
_Availability = MediaAttachment.Availability

_BY_STATE = {
    _State.PENDING: _Availability.ON_ITS_WAY,
    _State.DOWNLOADING: _Availability.ON_ITS_WAY,
    _State.STORED: _Availability.HERE,
    _State.NEEDS_ATTENTION: _Availability.NOT_AVAILABLE,
    _State.DAMAGED: _Availability.DAMAGED,
    _State.CLOSED: _Availability.GIVEN_UP,
    _State.TRASHED: _Availability.IN_TRASH,
    _State.DUPLICATE: _Availability.HERE,
}
_BY_TROUBLE = {
    _Trouble.REFUSED: _Availability.NOT_DOWNLOADED,
    _Trouble.NOT_THE_FILE: _Availability.NOT_THE_FILE,
    _Trouble.DOUBTFUL: _Availability.DOUBTFUL,
}


def availability_of(
    state: MediaAttachment.State,
    trouble: MediaAttachment.Trouble | None,
    closed_as: MediaAttachment.Closing | None,
) -> MediaAttachment.Availability:
    """Say in one word where a file with these columns is."""
    if state is _State.NEEDS_ATTENTION and trouble in _BY_TROUBLE:
        return _BY_TROUBLE[trouble]
    if state is _State.STORED and trouble is _Trouble.INCOMPLETE:
        return _Availability.INCOMPLETE
    if state is _State.CLOSED and closed_as is MediaAttachment.Closing.CAME_ANOTHER_WAY:
        return _Availability.CAME_ANOTHER_WAY
    return _BY_STATE[state]


def asks_for_attention(
    state: MediaAttachment.State,
    trouble: MediaAttachment.Trouble | None,
    accepted_at: datetime | None,
) -> bool:
    """Whether a person should look at a file with these columns."""
    if state in (_State.NEEDS_ATTENTION, _State.DAMAGED):
        return True
    return state is _State.STORED and trouble is _Trouble.INCOMPLETE and accepted_at is None
