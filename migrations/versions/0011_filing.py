"""Media attachments that are not needed are listed by when that was said."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_MARKED = sa.text("not_needed_at IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_media_attachments_not_needed",
        "media_attachments",
        ["not_needed_at", "id"],
        sqlite_where=IS_MARKED,
        postgresql_where=IS_MARKED,
    )


def downgrade() -> None:
    op.drop_index("ix_media_attachments_not_needed", "media_attachments")
