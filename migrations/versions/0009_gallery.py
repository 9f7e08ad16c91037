"""Media attachments know since when they are linked, and the gallery finds them by it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0011"
branch_labels = None
depends_on = None

IS_LINKED, IS_MARKED = sa.text("linked_at IS NOT NULL"), sa.text("not_needed_at IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "media_attachments", sa.Column("linked_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute(
        "UPDATE media_attachments SET linked_at = (SELECT min(media_links.created_at)"
        " FROM media_links WHERE media_links.media_id = media_attachments.id)"
        " WHERE id IN (SELECT media_id FROM media_links)"
    )
    for name, condition in (("linked", IS_LINKED), ("set_aside", IS_MARKED)):
        op.create_index(
            f"ix_media_attachments_{name}",
            "media_attachments",
            ["sent_at", "id"],
            sqlite_where=condition,
            postgresql_where=condition,
        )


def downgrade() -> None:
    op.drop_index("ix_media_attachments_set_aside", "media_attachments")
    op.drop_index("ix_media_attachments_linked", "media_attachments")
    op.drop_column("media_attachments", "linked_at")
