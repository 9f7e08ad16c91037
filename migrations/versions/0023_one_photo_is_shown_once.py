"""A photo that two webhooks gave different addresses is shown once."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TABLE = "media_attachments"
INDEXES = {"photos_of": "media_type = 'photo'", "voicemails_of": "role = 'voicemail'"}
# As viewer/intake/duplicates.py says.
USED = """(
    {0}.caption IS NOT NULL OR {0}.not_needed_at IS NOT NULL
    OR EXISTS (SELECT 1 FROM media_links WHERE media_id = {0}.id)
    OR EXISTS (SELECT 1 FROM share_items WHERE media_id = {0}.id)
    OR EXISTS (SELECT 1 FROM evidence_items WHERE media_id = {0}.id)
)"""
HIDE = f"""
UPDATE media_attachments SET
    state = 'duplicate', is_unfiled = false, next_attempt_at = NULL, copy_due_at = NULL,
    copy_state = CASE WHEN copy_state = 'due' THEN 'waiting' ELSE copy_state END
WHERE state = 'stored' AND NOT {USED.format(TABLE)} AND EXISTS (
    SELECT 1 FROM media_attachments AS shown
    WHERE shown.message_id = media_attachments.message_id
        AND shown.id != media_attachments.id
        AND shown.role = media_attachments.role
        AND shown.sha256 = media_attachments.sha256
        AND shown.state IN ('stored', 'trashed')
        AND shown.purged_at IS NULL
        AND (
            shown.downloaded_at < media_attachments.downloaded_at
            OR (shown.downloaded_at = media_attachments.downloaded_at
                AND shown.id < media_attachments.id)
            OR {USED.format("shown")}
        )
)
"""  # noqa: S608 - of our own words


def upgrade() -> None:
    op.execute(sa.text(HIDE))
    _index("state NOT IN ('trashed', 'duplicate')")


def downgrade() -> None:
    # Derivatives that were never made are made then: the files are shown.
    op.execute(
        sa.text(
            "UPDATE media_attachments SET state = 'stored',"
            " copy_due_at = CASE WHEN copy_state = 'waiting' THEN CURRENT_TIMESTAMP END,"
            " copy_state = CASE WHEN copy_state = 'waiting' THEN 'due' ELSE copy_state END"
            " WHERE state = 'duplicate'"
        )
    )
    _index("state != 'trashed'")


def _index(is_shown: str) -> None:
    for name, kind in INDEXES.items():
        which = sa.text(f"{kind} AND {is_shown}")
        op.drop_index(f"ix_{TABLE}_{name}", TABLE)
        op.create_index(
            f"ix_{TABLE}_{name}",
            TABLE,
            ["conversation_id"],
            sqlite_where=which,
            postgresql_where=which,
        )
