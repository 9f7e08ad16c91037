"""Webhook deliveries, exactly as they arrived."""

import enum
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Lock, Model, db, lock, now, upsert
from viewer.models.indexes import partial_index

_LONGEST_ID = 255


class WebhookEvent(Model):
    """One delivery of the provider: the raw bytes; parsed later by a worker."""

    __tablename__ = "webhook_events"
    __table_args__ = (
        # What the sweep asks for; an index over the few rows still open, not over all of history.
        partial_index("ix_webhook_events_open", "state = 'received'", "received_at"),
    )

    class State(enum.StrEnum):
        RECEIVED = "received"  # kept, not yet read
        PROCESSED = "processed"  # read; its rows exist
        UNPARSED = "unparsed"  # genuine, but not understood; newer code reads it again

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    delivery_id: Mapped[str] = mapped_column(String(_LONGEST_ID), unique=True)
    scheme: Mapped[str] = mapped_column(String(20))
    body: Mapped[bytes]  # raw: text columns refuse what a stranger can put into bytes
    received_at: Mapped[datetime] = mapped_column(default=now, index=True)
    signed_at: Mapped[datetime | None]

    state: Mapped[State] = mapped_column(default=State.RECEIVED, index=True)
    kind: Mapped[str | None] = mapped_column(String(100))
    # The provider's id of the message or call it tells of: by which delivery a file came.
    tells_of: Mapped[str | None] = mapped_column(String(255), index=True)
    problem: Mapped[str | None] = mapped_column(String(500))
    attempts: Mapped[int] = mapped_column(default=0)
    processed_at: Mapped[datetime | None]
    # Since when the body is gone: the customer was forgotten, or RAW_DELIVERY_DAYS have passed.
    erased_at: Mapped[datetime | None]
    body_sha256: Mapped[str | None] = mapped_column(String(64))  # by which a repeat is told then

    @classmethod
    def record(
        cls, delivery_id: str, scheme: str, body: bytes, signed_at: datetime | None = None
    ) -> tuple["WebhookEvent", bool]:
        """As keep(), and returns the row itself."""
        connection = db.session.connection()
        event_id, is_new = cls.keep(connection, delivery_id, scheme, body, signed_at)
        return db.session.get_one(cls, event_id), is_new

    @classmethod
    def keep(
        cls,
        connection: sa.Connection,
        delivery_id: str,
        scheme: str,
        body: bytes,
        signed_at: datetime | None = None,
    ) -> tuple[uuid.UUID, bool]:
        """Insert this delivery, deduplicated. Returns its row's id, and whether it is new.

        Idempotent: sixteen concurrent calls leave one row. Two webhooks may deliver one event under
        one id, each in its own dialect: a body that differs in a byte is no repeat, and is kept
        under a name of its own.
        """
        if len(delivery_id) > _LONGEST_ID:
            delivery_id = f"sha256:{hashlib.sha256(delivery_id.encode()).hexdigest()}"
        event_id, known = cls._insert(connection, delivery_id, scheme, body, signed_at)
        if known is not None and not known.is_of(body):
            digest = hashlib.sha256(body).hexdigest()[:16]
            own_id = f"{delivery_id[: _LONGEST_ID - len(digest) - 1]}:{digest}"
            event_id, known = cls._insert(connection, own_id, scheme, body, signed_at)
        return event_id, known is None

    @classmethod
    def _insert(
        cls,
        connection: sa.Connection,
        delivery_id: str,
        scheme: str,
        body: bytes,
        signed_at: datetime | None,
    ) -> tuple[uuid.UUID, "_Known | None"]:
        """The id of the row with this delivery id, and what it holds if it was there before."""
        event_id = uuid.uuid4()
        # Straight into the table: an object of the session took three times the CPU.
        is_new = connection.execute(
            upsert(_insert_if_new, connection.dialect.name),
            {
                "id": event_id,
                "delivery_id": delivery_id,
                "scheme": scheme,
                "body": body,
                "signed_at": signed_at,
                "received_at": now(),
                "state": cls.State.RECEIVED,
                "attempts": 0,
            },
        ).first()
        if is_new:
            return event_id, None
        asked = sa.select(cls.id, cls.body, cls.body_sha256).filter_by(delivery_id=delivery_id)
        found = connection.execute(asked).one()
        return found.id, _Known(found.body, found.body_sha256)

    @classmethod
    def read_again(cls, *conditions: sa.ColumnElement[bool]) -> int:
        """Let workers ingest those unparsed events anew that meet all conditions. How many.

        One statement: what a worker reads meanwhile is not reopened. Does not commit.
        """
        done = db.session.execute(
            sa.update(cls)
            .where(cls.state == cls.State.UNPARSED, *conditions)
            .values(state=cls.State.RECEIVED, attempts=0)
            .execution_options(synchronize_session=False)
        )
        return int(done.rowcount)  # type: ignore[attr-defined]

    def mark_processed(self, kind: str) -> None:
        self.state, self.kind, self.problem = self.State.PROCESSED, kind[:100], None
        self.processed_at = now()

    def mark_unparsed(self, problem: str) -> None:
        self.state, self.problem = self.State.UNPARSED, problem[:500]
        self.processed_at = now()

    def erase_body(self) -> None:
        """Keep that it came, and by what a repeat is told; what it said is gone."""
        self.body_sha256 = hashlib.sha256(self.body).hexdigest()
        self.body, self.erased_at = b"", now()


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept of a delivery."""

    body: bytes
    body_sha256: str | None  # of one whose body was erased

    def is_of(self, body: bytes) -> bool:
        if self.body_sha256 is not None:
            return hashlib.sha256(body).hexdigest() == self.body_sha256
        return self.body == body


def _insert_if_new(insert: Any) -> sa.Insert:
    table = WebhookEvent.metadata.tables[WebhookEvent.__tablename__]
    made: sa.Insert = (
        insert(table)
        .on_conflict_do_nothing(index_elements=[table.c.delivery_id])
        .returning(table.c.id)
    )
    return made


class RefusedDelivery(Model):
    """Refused deliveries by reason and hour. Counters only, so that no flood fills the table."""

    __tablename__ = "refused_deliveries"

    reason: Mapped[str] = mapped_column(String(40), primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime] = mapped_column(default=now)
    header_names: Mapped[str] = mapped_column(String(500), default="")

    @classmethod
    def add(cls, reason: str, count: int, header_names: str) -> None:
        """Add to the counter of this reason and hour."""
        moment = now()
        lock(Lock.REFUSED_DELIVERIES)
        hour = moment.replace(minute=0, second=0, microsecond=0)
        row = db.session.get(cls, (reason, hour), populate_existing=True)
        if row is None:
            row = cls(reason=reason, hour=hour, count=0)
            db.session.add(row)
        row.count += count
        row.last_at, row.header_names = moment, header_names[:500]


class CutConnection(Model):
    """Connections that the web server cut off, by reason and hour."""

    __tablename__ = "cut_connections"

    reason: Mapped[str] = mapped_column(String(40), primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(default=0)

    @classmethod
    def add(cls, connection: sa.Connection, counts: Mapping[str, int]) -> None:
        """Add to the counters of this hour."""
        hour = now().replace(minute=0, second=0, microsecond=0)
        # In one order: two processes never wait for each other in a circle.
        rows = [
            {"reason": reason, "hour": hour, "count": counts[reason]} for reason in sorted(counts)
        ]
        connection.execute(upsert(_add_to_counter, connection.dialect.name), rows)


def _add_to_counter(insert: Any) -> sa.Insert:
    table = CutConnection.metadata.tables[CutConnection.__tablename__]
    made: Any = insert(table)
    adding: sa.Insert = made.on_conflict_do_update(
        index_elements=[table.c.reason, table.c.hour],
        set_={"count": table.c.count + made.excluded.count},
    )
    return adding
