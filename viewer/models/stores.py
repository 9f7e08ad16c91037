"""The stores that hold originals, and what verify, backup, drill and restore did."""

import enum
import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Model, now


class RegisteredStore(Model):
    """A store that this database's files are in. Its id equals the marker in the store itself."""

    __tablename__ = "stores"

    class Kind(enum.StrEnum):
        FOLDER = "folder"
        S3 = "s3"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[Kind] = mapped_column(default=Kind.FOLDER)
    # As `storage.from_url` takes it, without secrets. For people only where it is a folder: that is
    # found by MEDIA_ROOT, and may be mounted elsewhere tomorrow.
    address: Mapped[str | None] = mapped_column(String(1000))
    host: Mapped[str | None] = mapped_column(String(255))  # of a folder: who had it last
    # New files go there; at most one. With none, each host keeps its own in its folder.
    is_wanted: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(default=now)
    retired_at: Mapped[datetime | None]  # lost for good: nothing is in it any more

    __table_args__ = (
        sa.Index(
            "uq_stores_wanted",
            "is_wanted",
            unique=True,
            sqlite_where=sa.text("is_wanted"),
            postgresql_where=sa.text("is_wanted"),
        ),
    )

    @classmethod
    def is_folder_in_use(cls) -> sa.ColumnElement[bool]:
        return (cls.kind == cls.Kind.FOLDER) & cls.retired_at.is_(None)


class UpkeepRun(Model):
    """One run of verify, backup, drill or restore: what it looked at, and how it ended."""

    __tablename__ = "upkeep_runs"

    class Kind(enum.StrEnum):
        VERIFY = "verify"
        BACKUP = "backup"
        DRILL = "drill"
        RESTORE = "restore"
        MOVE = "move"

    class Outcome(enum.StrEnum):
        RUNNING = "running"  # or killed: then `ended_at` stays empty
        GOOD = "good"
        BAD = "bad"  # it did its work, and not all is well; `words` says why
        FAILED = "failed"  # it could not do its work; `words` says why

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[Kind]
    subject: Mapped[str] = mapped_column(String(1000))  # the store's or target's address
    started_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
    outcome: Mapped[Outcome] = mapped_column(default=Outcome.RUNNING)
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    words: Mapped[str | None] = mapped_column(sa.Text)  # a sentence for people
    snapshot: Mapped[int | None]  # the number of the snapshot that was taken, proven or restored

    @classmethod
    def has_result(cls) -> sa.ColumnElement[bool]:
        """Whether it did its work, whatever it found."""
        return cls.outcome.in_((cls.Outcome.GOOD, cls.Outcome.BAD))

    __table_args__ = (sa.Index("ix_upkeep_runs_latest", "kind", "subject", "started_at"),)
