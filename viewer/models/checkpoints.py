"""Checkpoints of long work, so that it resumes where it was stopped."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Model, db, now


class Checkpoint(Model):
    """One fact the catch-up keeps between runs: how far a list is read, what the last run found."""

    __tablename__ = "catch_up_marks"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    said: Mapped[str | None] = mapped_column(sa.Text)  # a sentence for the status page

    @classmethod
    def read(cls, name: str) -> str | None:
        mark = db.session.get(cls, name, populate_existing=True)
        return mark.value if mark else None

    @classmethod
    def read_moment(cls, name: str) -> datetime | None:
        return parse_moment(cls.read(name))

    @classmethod
    def write(cls, name: str, value: str, said: str | None = None) -> None:
        # merge() finds a row that this very transaction has just made, too.
        db.session.merge(cls(name=name, value=value, updated_at=now(), said=said))

    @classmethod
    def forget(cls, name: str) -> None:
        db.session.execute(sa.delete(cls).filter_by(name=name))


def parse_moment(value: object) -> datetime | None:
    """Parse ISO 8601, as UTC where it names no zone. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
