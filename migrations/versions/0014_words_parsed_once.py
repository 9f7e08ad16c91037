"""PostgreSQL keeps the words of the search parsed: what is everywhere is found walking in order."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


PEOPLE = 1 << 60  # SearchEntry.PEOPLE


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    op.execute("DROP INDEX ix_search_entries_words")
    op.execute(
        "ALTER TABLE search_entries ADD search_words tsvector"
        " GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED"
    )
    # More of the frequent words are counted than the usual hundred: by these counts it is decided
    # whether to walk from the newest entry or to gather the few that there are.
    op.execute("ALTER TABLE search_entries ALTER search_words SET STATISTICS 500")
    # Never a list of pending entries that each search would have to read through.
    op.execute(
        "CREATE INDEX ix_search_entries_words ON search_entries USING gin (search_words)"
        " WITH (fastupdate = off)"
    )
    op.execute(
        "CREATE INDEX ix_search_entries_words_of_people ON search_entries USING gin (search_words)"
        f" WITH (fastupdate = off) WHERE id >= {PEOPLE}"
    )


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    op.execute("ALTER TABLE search_entries DROP search_words")  # and its indexes
    op.execute(
        "CREATE INDEX ix_search_entries_words ON search_entries USING gin"
        " ((to_tsvector('simple', words) || array_to_tsvector(ARRAY['@' || (id >> 38)::text])))"
        " WITH (fastupdate = off)"
    )
