"""People, what they have read, work records, shares, and the words to search."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "throttles",
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttles")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "role",
            sa.Enum("field", "office", "owner", name="role", native_enum=False, length=30),
            nullable=False,
        ),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("playback_rate", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_api_tokens_fingerprint")),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_tokens_user_id"), ["user_id"], unique=False)

    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("who", sa.String(length=254), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject_type", sa.String(length=30), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("words", sa.String(length=500), nullable=False),
        sa.Column("address", sa.String(length=60), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_audit_entries_user_id_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_entries_at"), ["at"], unique=False)
        batch_op.create_index("ix_audit_entries_subject", ["subject_id", "at"], unique=False)

    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_invitations_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_invitations_fingerprint")),
    )
    with op.batch_alter_table("invitations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invitations_user_id"), ["user_id"], unique=False)

    op.create_table(
        "unread",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_unread_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_unread_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "conversation_id", name=op.f("pk_unread")),
    )
    with op.batch_alter_table("unread", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_unread_conversation_id"), ["conversation_id"], unique=False
        )

    op.create_table(
        "user_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_user_sessions_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_sessions")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_user_sessions_fingerprint")),
    )
    with op.batch_alter_table("user_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_sessions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "search_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(message_id IS NULL) != (conversation_id IS NULL)",
            name=op.f("ck_search_entries_one_subject"),
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_search_entries_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_search_entries_message_id_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_entries")),
        sa.UniqueConstraint("conversation_id", name=op.f("uq_search_entries_conversation_id")),
        sa.UniqueConstraint("message_id", name=op.f("uq_search_entries_message_id")),
    )
    with op.batch_alter_table("search_entries", schema=None) as batch_op:
        batch_op.create_index("ix_search_entries_at", ["at", "id"], unique=False)

    _index_words()

    op.create_table(
        "work_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("quote", "appointment", "invoice", name="kind", native_enum=False, length=30),
            nullable=False,
        ),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=40), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "draft",
                "sent",
                "approved",
                "declined",
                "planned",
                "done",
                "canceled",
                "paid",
                "void",
                name="status",
                native_enum=False,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("visit", sa.String(length=60), nullable=True),
        sa.Column("place", sa.String(length=300), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("external_reference", sa.String(length=120), nullable=True),
        sa.Column("external_url", sa.String(length=500), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("cover_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind != 'appointment' OR starts_at IS NOT NULL",
            name=op.f("ck_work_records_visit_has_time"),
        ),
        sa.CheckConstraint(
            "amount IS NULL OR amount >= 0", name=op.f("ck_work_records_amount_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_work_records_conversation_id_conversations"),
        ),
        sa.ForeignKeyConstraint(
            ["cover_id"],
            ["media_attachments.id"],
            name=op.f("fk_work_records_cover_id_media_attachments"),
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"],
            ["users.id"],
            name=op.f("fk_work_records_created_by_id_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_records")),
        sa.UniqueConstraint("kind", "number", name="uq_work_records_number"),
    )
    with op.batch_alter_table("work_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_work_records_conversation_id"), ["conversation_id"], unique=False
        )
        batch_op.create_index("ix_work_records_listed", ["kind", "created_at", "id"], unique=False)
        batch_op.create_index("ix_work_records_starts", ["starts_at"], unique=False)

    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_by", sa.String(length=254), nullable=False),
        sa.Column("number", sa.String(length=40), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["record_id"], ["work_records.id"], name=op.f("fk_evidence_record_id_work_records")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_evidence_record_id"), ["record_id"], unique=False)

    op.create_table(
        "media_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("media_id", sa.Uuid(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("caption", sa.String(length=300), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"],
            ["users.id"],
            name=op.f("fk_media_links_created_by_id_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["media_id"],
            ["media_attachments.id"],
            name=op.f("fk_media_links_media_id_media_attachments"),
        ),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["work_records.id"],
            name=op.f("fk_media_links_record_id_work_records"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media_links")),
        sa.UniqueConstraint("media_id", "record_id", name="uq_media_links_once"),
    )
    with op.batch_alter_table("media_links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_media_links_record_id"), ["record_id"], unique=False)

    op.create_table(
        "shares",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=True),
        sa.Column("passphrase_hash", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.Column("viewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"],
            ["users.id"],
            name=op.f("fk_shares_created_by_id_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["record_id"], ["work_records.id"], name=op.f("fk_shares_record_id_work_records")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_shares_fingerprint")),
    )
    with op.batch_alter_table("shares", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_shares_record_id"), ["record_id"], unique=False)

    op.create_table(
        "evidence_items",
        sa.Column("evidence_id", sa.Uuid(), nullable=False),
        sa.Column("media_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("caption", sa.String(length=300), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("mime_type", sa.String(length=100), nullable=False),
        sa.Column("file_path", sa.String(length=500), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_evidence_items_evidence_id_evidence")
        ),
        sa.ForeignKeyConstraint(
            ["media_id"],
            ["media_attachments.id"],
            name=op.f("fk_evidence_items_media_id_media_attachments"),
        ),
        sa.PrimaryKeyConstraint("evidence_id", "media_id", name=op.f("pk_evidence_items")),
    )
    with op.batch_alter_table("evidence_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_evidence_items_media_id"), ["media_id"], unique=False)

    op.create_table(
        "share_items",
        sa.Column("share_id", sa.Uuid(), nullable=False),
        sa.Column("media_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["media_id"],
            ["media_attachments.id"],
            name=op.f("fk_share_items_media_id_media_attachments"),
        ),
        sa.ForeignKeyConstraint(
            ["share_id"],
            ["shares.id"],
            name=op.f("fk_share_items_share_id_shares"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("share_id", "media_id", name=op.f("pk_share_items")),
    )
    with op.batch_alter_table("share_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_share_items_media_id"), ["media_id"], unique=False)

    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("caption", sa.String(length=300), nullable=True))
        batch_op.add_column(
            sa.Column("is_unfiled", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(sa.Column("not_needed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("trashed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("trashed_by", sa.String(length=254), nullable=True))
        batch_op.add_column(sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        """
        UPDATE media_attachments SET
            sent_at = (SELECT sent_at FROM messages WHERE messages.id = message_id),
            is_unfiled = role = 'attachment'
                AND EXISTS (SELECT 1 FROM messages WHERE messages.id = message_id AND direction = 'incoming')
        """
    )
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.alter_column("sent_at", existing_type=sa.DateTime(timezone=True), nullable=False)
        batch_op.alter_column("is_unfiled", existing_type=sa.Boolean(), server_default=None)
        batch_op.create_index(
            "ix_media_attachments_attention",
            ["conversation_id"],
            unique=False,
            sqlite_where=sa.text("state IN ('needs_attention', 'damaged')"),
            postgresql_where=sa.text("state IN ('needs_attention', 'damaged')"),
        )
        batch_op.create_index("ix_media_attachments_gallery", ["sent_at", "id"], unique=False)
        batch_op.create_index(
            "ix_media_attachments_gallery_of", ["conversation_id", "sent_at", "id"], unique=False
        )
        batch_op.create_index(
            "ix_media_attachments_kind", ["media_type", "sent_at", "id"], unique=False
        )
        batch_op.create_index(
            "ix_media_attachments_unfiled",
            ["sent_at", "id"],
            unique=False,
            sqlite_where=sa.text("is_unfiled AND state = 'stored'"),
            postgresql_where=sa.text("is_unfiled AND state = 'stored'"),
        )

    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index("ix_messages_sender", ["sender", "sent_at"], unique=False)


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name in ("added", "dropped", "changed"):
            op.execute(f"DROP TRIGGER search_words_{name}")
        op.execute("DROP TABLE search_words")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index("ix_messages_sender")

    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_media_attachments_unfiled",
            sqlite_where=sa.text("is_unfiled AND state = 'stored'"),
            postgresql_where=sa.text("is_unfiled AND state = 'stored'"),
        )
        batch_op.drop_index("ix_media_attachments_kind")
        batch_op.drop_index("ix_media_attachments_gallery_of")
        batch_op.drop_index("ix_media_attachments_gallery")
        batch_op.drop_index(
            "ix_media_attachments_attention",
            sqlite_where=sa.text("state IN ('needs_attention', 'damaged')"),
            postgresql_where=sa.text("state IN ('needs_attention', 'damaged')"),
        )
        batch_op.drop_column("sent_at")
        batch_op.drop_column("trashed_by")
        batch_op.drop_column("trashed_at")
        batch_op.drop_column("not_needed_at")
        batch_op.drop_column("is_unfiled")
        batch_op.drop_column("caption")

    with op.batch_alter_table("share_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_share_items_media_id"))

    op.drop_table("share_items")
    with op.batch_alter_table("evidence_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evidence_items_media_id"))

    op.drop_table("evidence_items")
    with op.batch_alter_table("shares", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shares_record_id"))

    op.drop_table("shares")
    with op.batch_alter_table("media_links", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_media_links_record_id"))

    op.drop_table("media_links")
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evidence_record_id"))

    op.drop_table("evidence")
    with op.batch_alter_table("work_records", schema=None) as batch_op:
        batch_op.drop_index("ix_work_records_starts")
        batch_op.drop_index("ix_work_records_listed")
        batch_op.drop_index(batch_op.f("ix_work_records_conversation_id"))

    op.drop_table("work_records")
    with op.batch_alter_table("search_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_search_entries_at")

    op.drop_table("search_entries")
    with op.batch_alter_table("user_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_user_sessions_user_id"))

    op.drop_table("user_sessions")
    with op.batch_alter_table("unread", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_unread_conversation_id"))

    op.drop_table("unread")
    with op.batch_alter_table("invitations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_invitations_user_id"))

    op.drop_table("invitations")
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_entries_subject")
        batch_op.drop_index(batch_op.f("ix_audit_entries_at"))

    op.drop_table("audit_entries")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_tokens_user_id"))

    op.drop_table("api_tokens")
    op.drop_table("users")
    op.drop_table("throttles")


def _index_words() -> None:
    """The full text beside search_entries: FTS5 kept by triggers, or an index of PostgreSQL."""
    if op.get_context().dialect.name != "sqlite":
        op.execute(
            "CREATE INDEX ix_search_entries_words ON search_entries"
            " USING gin (to_tsvector('simple', words))"
        )
        return
    op.execute(
        "CREATE VIRTUAL TABLE search_words USING fts5 (words, content = 'search_entries',"
        " content_rowid = 'id', prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 0')"
    )
    add = "INSERT INTO search_words (rowid, words) VALUES (new.id, new.words)"
    drop = (
        "INSERT INTO search_words (search_words, rowid, words) VALUES ('delete', old.id, old.words)"
    )
    for name, moment, work in (
        ("added", "AFTER INSERT", add),
        ("dropped", "AFTER DELETE", drop),
        ("changed", "AFTER UPDATE OF words", f"{drop}; {add}"),
    ):
        op.execute(
            f"CREATE TRIGGER search_words_{name} {moment} ON search_entries BEGIN {work}; END"
        )
