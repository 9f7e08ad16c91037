"""Find the newest first, whatever the size of the tables: the inbox's filters and the search."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005_people"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index("ix_conversations_line")
        batch_op.create_index(
            "ix_conversations_line_latest", ["line", "latest_at", "id"], unique=False
        )
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        for name, which in PARTS.items():
            batch_op.create_index(
                name,
                ["conversation_id"],
                unique=False,
                sqlite_where=sa.text(which),
                postgresql_where=sa.text(which),
            )
    # Ids are times now. There were none yet that anybody had written; the scheduler fills them in.
    op.execute("DELETE FROM search_entries")
    with op.batch_alter_table("search_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_search_entries_at")
    _index_words(
        # The last word of a search is how a word begins. A list of its own for each length is
        # read from its newest end; without it, a frequent beginning is gathered whole first.
        fts5="prefix = '2 3 4 5 6 7 8 9 10', tokenize = 'ascii'",
        # Never a list of pending entries that each search would have to read through.
        gin="(to_tsvector('simple', words) || array_to_tsvector(ARRAY['@' || (id >> 38)::text])))"
        " WITH (fastupdate = off",
    )


def downgrade() -> None:
    _index_words(
        fts5="prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 0'",
        gin="to_tsvector('simple', words)",
    )
    with op.batch_alter_table("search_entries", schema=None) as batch_op:
        batch_op.create_index("ix_search_entries_at", ["at", "id"], unique=False)
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        for name, which in PARTS.items():
            batch_op.drop_index(name, sqlite_where=sa.text(which), postgresql_where=sa.text(which))
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index("ix_conversations_line_latest")
        batch_op.create_index("ix_conversations_line", ["line"], unique=False)


PARTS = {
    "ix_media_attachments_photos_of": "media_type = 'photo' AND state != 'trashed'",
    "ix_media_attachments_voicemails_of": "role = 'voicemail' AND state != 'trashed'",
    "ix_media_attachments_unfiled_of": "is_unfiled AND state = 'stored'",
}


def _index_words(fts5: str, gin: str) -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE search_words")
        op.execute(
            "CREATE VIRTUAL TABLE search_words USING fts5"
            f" (words, content = 'search_entries', content_rowid = 'id', {fts5})"
        )
        op.execute("INSERT INTO search_words (search_words) VALUES ('rebuild')")
    else:
        op.execute("DROP INDEX ix_search_entries_words")
        op.execute(f"CREATE INDEX ix_search_entries_words ON search_entries USING gin ({gin})")
