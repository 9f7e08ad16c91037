"""Media attachments know since when they are linked; the gallery's lists have indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LISTS = {
    "linked": "linked_at IS NOT NULL",
    "set_aside": "not_needed_at IS NOT NULL",
    "unsettled": "state IN ('pending', 'downloading', 'needs_attention', 'damaged')",
}


def upgrade() -> None:
    op.add_column(
        "media_attachments", sa.Column("linked_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute(
        "UPDATE media_attachments SET linked_at = (SELECT min(media_links.created_at)"
        " FROM media_links WHERE media_links.media_id = media_attachments.id)"
        " WHERE id IN (SELECT media_id FROM media_links)"
    )
    for name, condition in LISTS.items():
        op.create_index(
            f"ix_media_attachments_{name}",
            "media_attachments",
            ["sent_at", "id"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def downgrade() -> None:
    for name in LISTS:
        op.drop_index(f"ix_media_attachments_{name}", "media_attachments")
    op.drop_column("media_attachments", "linked_at")
