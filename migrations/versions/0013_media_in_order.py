"""Lists of files are in the order of the viewer: by message, and in it as they were sent."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Name, what is equal in it, which rows: of a list that the gallery shows.
LISTS = (
    ("gallery", [], None),
    ("gallery_of", ["conversation_id"], None),
    ("kind", ["media_type"], None),
    ("linked", [], "linked_at IS NOT NULL"),
    ("set_aside", [], "not_needed_at IS NOT NULL"),
    ("unsettled", [], "state IN ('pending', 'downloading', 'needs_attention', 'damaged')"),
)
UNFILED = "is_unfiled AND state = 'stored'"


def upgrade() -> None:
    for name, equal, which in LISTS:
        _drop(name)
        _create(name, [*equal, "sent_at", "message_id", "position", "id"], which)
    # The tray has its own order, and its own index.
    _create("unfiled_gallery", ["sent_at", "message_id", "position", "id"], UNFILED)


def downgrade() -> None:
    _drop("unfiled_gallery")
    for name, equal, which in LISTS:
        _drop(name)
        _create(name, [*equal, "sent_at", "id"], which)


def _create(name: str, columns: list[str], which: str | None) -> None:
    condition = sa.text(which) if which else None
    op.create_index(
        f"ix_media_attachments_{name}",
        "media_attachments",
        columns,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _drop(name: str) -> None:
    op.drop_index(f"ix_media_attachments_{name}", "media_attachments")
