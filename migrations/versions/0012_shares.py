"""Deliveries say what they tell of; what is purged leaves a tombstone; shares and trash are listed."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

IN_TRASH = sa.text("state = 'trashed'")


def upgrade() -> None:
    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tells_of", sa.String(length=255), nullable=True))
    _tell_of_what()
    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_events_tells_of"), ["tells_of"], unique=False)

    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("quarantined_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_media_attachments_trash",
            ["trashed_at", "id"],
            unique=False,
            sqlite_where=IN_TRASH,
            postgresql_where=IN_TRASH,
        )

    with op.batch_alter_table("shares", schema=None) as batch_op:
        batch_op.create_index("ix_shares_listed", ["created_at", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("shares", schema=None) as batch_op:
        batch_op.drop_index("ix_shares_listed")
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_media_attachments_trash", sqlite_where=IN_TRASH, postgresql_where=IN_TRASH
        )
        batch_op.drop_column("quarantined_at")
        batch_op.drop_column("purged_at")
    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_events_tells_of"))
        batch_op.drop_column("tells_of")


def _tell_of_what() -> None:
    """Of the deliveries that were read already. A body we cannot read tells of nothing."""
    events = sa.table(
        "webhook_events",
        sa.column("id", sa.Uuid()),
        sa.column("body", sa.LargeBinary()),
        sa.column("state", sa.String()),
        sa.column("tells_of", sa.String()),
    )
    connection = op.get_bind()
    ids = connection.scalars(sa.select(events.c.id).where(events.c.state == "processed")).all()
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows = connection.execute(
            sa.select(events.c.id, events.c.body).where(events.c.id.in_(some))
        ).all()
        for row in rows:
            if found := _subject(row.body):
                connection.execute(
                    sa.update(events).where(events.c.id == row.id).values(tells_of=found)
                )


def _subject(body: bytes) -> str | None:
    try:
        outer = json.loads(body)["data"]
        thing = outer.get("resource") or outer.get("object")
        found = thing.get("callId") or thing.get("id")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found[:255] if isinstance(found, str) and "\0" not in found else None
