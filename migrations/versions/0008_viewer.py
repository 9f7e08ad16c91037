"""Photos that no browser shows have a full-size copy that every browser shows."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("media_attachments", sa.Column("full_path", sa.String(length=500), nullable=True))
    # Those we have get theirs: the sweep finds what is due.
    media = sa.table(
        "media_attachments",
        sa.column("mime_type", sa.String),
        sa.column("copy_state", sa.String),
        sa.column("copy_due_at", sa.DateTime(timezone=True)),
        sa.column("copy_attempts", sa.Integer),
        sa.column("width", sa.Integer),
        sa.column("height", sa.Integer),
    )
    op.execute(
        sa.update(media)
        .where(
            media.c.mime_type.in_(("image/heic", "image/heif", "image/tiff")),
            media.c.copy_state == "made",
            (media.c.width > 2048) | (media.c.height > 2048),
        )
        .values(copy_state="due", copy_due_at=datetime.now(UTC), copy_attempts=0)
    )


def downgrade() -> None:
    op.drop_column("media_attachments", "full_path")
