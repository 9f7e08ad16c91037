"""Rows name the store that holds their bytes, and runs of upkeep are recorded."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEPT = "downloaded_at IS NOT NULL AND purged_at IS NULL"
CHECK = "ck_media_attachments_stored_has_bytes"
KEYS = {column: f"fk_media_attachments_{column}_stores" for column in ("storage", "former_storage")}

stores = sa.table(
    "stores",
    sa.column("id", sa.Uuid()),
    sa.column("kind", sa.String()),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
media = sa.table(
    "media_attachments",
    sa.column("state", sa.String()),
    sa.column("storage", sa.Uuid()),
    sa.column("downloaded_at", sa.DateTime(timezone=True)),
    sa.column("created_at", sa.DateTime(timezone=True)),
    sa.column("verified_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "stores",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("address", sa.String(length=1000), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stores")),
    )
    op.execute(
        "INSERT INTO stores (id, kind, created_at)"
        " SELECT id, 'folder', created_at FROM store_identities"
    )
    op.drop_table("store_identities")
    op.create_table(
        "upkeep_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("subject", sa.String(length=1000), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=30), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("snapshot", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upkeep_runs")),
    )
    op.create_index("ix_upkeep_runs_latest", "upkeep_runs", ["kind", "subject", "started_at"])
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("storage", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("former_storage", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True))
    _fill()
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        for column, name in KEYS.items():
            batch_op.create_foreign_key(op.f(name), "stores", [column], ["id"])
        batch_op.drop_constraint(op.f(CHECK), type_="check")
        batch_op.create_check_constraint(
            op.f(CHECK),
            "state != 'stored' OR (sha256 IS NOT NULL AND file_size > 0 AND storage IS NOT NULL"
            " AND verified_at IS NOT NULL)",
        )
    op.create_index(
        "ix_media_attachments_to_verify",
        "media_attachments",
        ["storage", "verified_at"],
        sqlite_where=sa.text(KEPT),
        postgresql_where=sa.text(KEPT),
    )


def _fill() -> None:
    """Until now there was one store: all bytes are in it, and were hashed as they came."""
    connection = op.get_bind()
    kept = media.c.downloaded_at.is_not(None) | media.c.state.in_(("stored", "damaged"))
    known = connection.scalar(sa.select(stores.c.id))
    if known is None:
        if connection.scalar(sa.select(media.c.state).where(kept).limit(1)) is None:
            return
        # A database older than markers. `viewer storage adopt` will mark the folder with this id.
        known = uuid.uuid4()
        connection.execute(
            stores.insert().values(id=known, kind="folder", created_at=datetime.now(UTC))
        )
    connection.execute(
        media.update()
        .where(kept)
        .values(
            storage=known,
            verified_at=sa.func.coalesce(media.c.downloaded_at, media.c.created_at),
        )
    )


def downgrade() -> None:
    op.drop_index("ix_media_attachments_to_verify", "media_attachments")
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.drop_constraint(op.f(CHECK), type_="check")
        for name in KEYS.values():
            batch_op.drop_constraint(op.f(name), type_="foreignkey")
        batch_op.create_check_constraint(
            op.f(CHECK), "state != 'stored' OR (sha256 IS NOT NULL AND file_size > 0)"
        )
        for column in ("verified_at", "former_storage", "storage"):
            batch_op.drop_column(column)
    op.drop_table("upkeep_runs")
    op.create_table(
        "store_identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_identities")),
    )
    op.execute(
        "INSERT INTO store_identities (id, created_at)"
        " SELECT id, created_at FROM stores WHERE kind = 'folder'"
    )
    op.drop_table("stores")
