"""A customer can be forgotten, quarantine and raw deliveries end, and calls have a consent."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
COLUMNS = (
    ("webhook_events", "erased_at", MOMENT, {"nullable": True}),
    ("webhook_events", "body_sha256", sa.String(64), {"nullable": True}),
    ("media_attachments", "quarantine_emptied_at", MOMENT, {"nullable": True}),
    (
        "conversations",
        "recording_consent",
        sa.String(30),
        {"nullable": False, "server_default": "unknown"},
    ),
)
INDEXES = (
    (
        "quarantined",
        ["quarantined_at"],
        "quarantined_at IS NOT NULL AND quarantine_emptied_at IS NULL",
    ),
    ("recordings", ["sent_at"], "role = 'recording' AND state = 'stored'"),
)
TABLES = ("erasures", "forgotten_ids", "forgotten_numbers", "forgettings")


def upgrade() -> None:
    for table, name, kind, more in COLUMNS:
        op.add_column(table, sa.Column(name, kind, **more))
    for name, columns, which in INDEXES:
        op.create_index(
            f"ix_media_attachments_{name}",
            "media_attachments",
            columns,
            sqlite_where=sa.text(which),
            postgresql_where=sa.text(which),
        )
    op.create_table(
        "forgettings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(60), nullable=True),
        sa.Column("reason", sa.String(30), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("state", sa.String(30), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("asked_by", sa.String(254), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revoked_by", sa.String(254), nullable=True),
        sa.Column("begun_at", MOMENT, nullable=True),
        sa.Column("erased_at", MOMENT, nullable=True),
        sa.Column("cleared_at", MOMENT, nullable=True),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.Column("compacted_at", MOMENT, nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("remarks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forgettings")),
    )
    op.create_table(
        "forgotten_numbers",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("pseudonym", sa.String(60), nullable=False),
        sa.Column("before", MOMENT, nullable=False),
        *_of_forgetting("forgotten_numbers"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_forgotten_numbers")),
    )
    op.create_table(
        "forgotten_ids",
        sa.Column("digest", sa.String(64), nullable=False),
        *_of_forgetting("forgotten_ids"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_forgotten_ids")),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_of_forgetting("erasures"),
        sa.Column("storage", sa.Uuid(), nullable=False),
        sa.Column("media_id", sa.Uuid(), nullable=True),
        sa.Column("file_path", sa.String(500), nullable=False),
        sa.Column("superseded_path", sa.String(500), nullable=True),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["storage"], ["stores.id"], name=op.f("fk_erasures_storage_stores")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_due", "erasures", ["storage", "due_at"])
    for table in TABLES[:3]:
        op.create_index(op.f(f"ix_{table}_forgetting_id"), table, ["forgetting_id"])


def _of_forgetting(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:
    return (
        sa.Column("forgetting_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["forgetting_id"],
            ["forgettings.id"],
            name=op.f(f"fk_{table}_forgetting_id_forgettings"),
        ),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    for name, _, _ in INDEXES:
        op.drop_index(f"ix_media_attachments_{name}", "media_attachments")
    for table, name, _, _ in reversed(COLUMNS):
        op.drop_column(table, name)
