"""Health is told by indexes: how many files are open and since when, and what came since."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Name, which rows, columns.
INDEXES = (
    (
        "open",
        "state IN ('pending', 'downloading', 'needs_attention', 'damaged')"
        " AND created_at IS NOT NULL",
        ["state", "created_at"],
    ),
    ("attention_oldest", "state IN ('needs_attention', 'damaged')", ["created_at", "id"]),
    (
        "kept_since",
        "downloaded_at IS NOT NULL AND purged_at IS NULL",
        ["downloaded_at", "storage", "state", "file_size"],
    ),
)


def upgrade() -> None:
    for name, which, columns in INDEXES:
        op.create_index(
            f"ix_media_attachments_{name}",
            "media_attachments",
            columns,
            sqlite_where=sa.text(which),
            postgresql_where=sa.text(which),
        )


def downgrade() -> None:
    for name, _, _ in INDEXES:
        op.drop_index(f"ix_media_attachments_{name}", "media_attachments")
