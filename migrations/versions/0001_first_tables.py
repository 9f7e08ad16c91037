"""The first tables: events, people, conversations, messages, media, duties."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.String(length=255), nullable=False),
        sa.Column("first_name", sa.String(length=255), nullable=True),
        sa.Column("last_name", sa.String(length=255), nullable=True),
        sa.Column("company", sa.String(length=255), nullable=True),
        sa.Column("role", sa.String(length=255), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("known_numbers", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("said", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_contacts_provider_id")),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("participants", sa.Text(), nullable=False),
        sa.Column("line", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latest_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.create_index("ix_conversations_latest", ["latest_at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_conversations_line"), ["line"], unique=False)
        batch_op.create_index(
            "ix_conversations_participants",
            ["participants"],
            unique=False,
            postgresql_using="hash",
        )

    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("said", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
    )
    op.create_table(
        "lines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.String(length=255), nullable=True),
        sa.Column("number", sa.String(length=60), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lines")),
        sa.UniqueConstraint("number", name=op.f("uq_lines_number")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_lines_provider_id")),
    )
    op.create_table(
        "refused_deliveries",
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("header_names", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("reason", "hour", name=op.f("pk_refused_deliveries")),
    )
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.String(length=255), nullable=False),
        sa.Column("scheme", sa.String(length=20), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "received", "processed", "unparsed", name="state", native_enum=False, length=30
            ),
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=100), nullable=True),
        sa.Column("problem", sa.String(length=500), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_events")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_webhook_events_delivery_id")),
    )
    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhook_events_open",
            ["received_at"],
            unique=False,
            sqlite_where=sa.text("state = 'received'"),
            postgresql_where=sa.text("state = 'received'"),
        )
        batch_op.create_index(
            batch_op.f("ix_webhook_events_received_at"), ["received_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_webhook_events_state"), ["state"], unique=False)

    op.create_table(
        "contact_numbers",
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
            name=op.f("fk_contact_numbers_contact_id_contacts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("contact_id", "number", name=op.f("pk_contact_numbers")),
    )
    with op.batch_alter_table("contact_numbers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_contact_numbers_number"), ["number"], unique=False)

    op.create_table(
        "conversation_aliases",
        sa.Column("provider_id", sa.String(length=255), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_conversation_aliases_conversation_id_conversations"),
        ),
        sa.PrimaryKeyConstraint("provider_id", name=op.f("pk_conversation_aliases")),
    )
    with op.batch_alter_table("conversation_aliases", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_conversation_aliases_conversation_id"), ["conversation_id"], unique=False
        )

    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.String(length=255), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("text", "call", name="kind", native_enum=False, length=30),
            nullable=False,
        ),
        sa.Column(
            "direction",
            sa.Enum("incoming", "outgoing", name="direction", native_enum=False, length=30),
            nullable=True,
        ),
        sa.Column("sender", sa.String(length=60), nullable=True),
        sa.Column("colleague", sa.String(length=255), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=40), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("has_voicemail", sa.Boolean(), nullable=True),
        sa.Column("voicemail_transcript", sa.Text(), nullable=True),
        sa.Column("transcript", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("next_steps", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("said", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_messages_conversation_id_conversations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_messages_provider_id")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(
            "ix_messages_timeline", ["conversation_id", "sent_at", "id"], unique=False
        )

    op.create_table(
        "media_attachments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "attachment", "voicemail", "recording", name="role", native_enum=False, length=30
            ),
            nullable=False,
        ),
        sa.Column("file_path", sa.String(length=500), nullable=False),
        sa.Column("file_stem", sa.String(length=500), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column("mime_type", sa.String(length=100), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("openphone_url", sa.Text(), nullable=True),
        sa.Column("source_key", sa.String(length=64), nullable=False),
        sa.Column("provider_id", sa.String(length=255), nullable=True),
        sa.Column("declared_type", sa.String(length=100), nullable=True),
        sa.Column("downloaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "downloading",
                "stored",
                "needs_attention",
                "damaged",
                "trashed",
                name="state",
                native_enum=False,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(length=500), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "media_type",
            sa.Enum(
                "photo",
                "video",
                "audio",
                "document",
                name="mediatype",
                native_enum=False,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column(
            "copy_state",
            sa.Enum(
                "waiting",
                "due",
                "made",
                "impossible",
                name="copystate",
                native_enum=False,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("copy_attempts", sa.Integer(), nullable=False),
        sa.Column("copy_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("copy_problem", sa.String(length=500), nullable=True),
        sa.Column("thumbnail_path", sa.String(length=500), nullable=True),
        sa.Column("preview_path", sa.String(length=500), nullable=True),
        sa.Column("playable_path", sa.String(length=500), nullable=True),
        sa.Column("placeholder", sa.Text(), nullable=True),
        sa.Column("peaks", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint(
            "state != 'stored' OR (sha256 IS NOT NULL AND file_size > 0)",
            name=op.f("ck_media_attachments_stored_has_bytes"),
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_media_attachments_conversation_id_conversations"),
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_media_attachments_message_id_messages")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media_attachments")),
        sa.UniqueConstraint("file_path", name=op.f("uq_media_attachments_file_path")),
        sa.UniqueConstraint("file_stem", name=op.f("uq_media_attachments_file_stem")),
        sa.UniqueConstraint("message_id", "source_key", name="uq_media_attachments_source"),
    )
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.create_index("idx_conversation", ["conversation_id", "created_at"], unique=False)
        batch_op.create_index("idx_message", ["message_id"], unique=False)
        batch_op.create_index(
            "ix_media_attachments_copies_due",
            ["copy_due_at"],
            unique=False,
            sqlite_where=sa.text("copy_state = 'due'"),
            postgresql_where=sa.text("copy_state = 'due'"),
        )
        batch_op.create_index(
            "ix_media_attachments_due",
            ["next_attempt_at"],
            unique=False,
            sqlite_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
            postgresql_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
        )
        batch_op.create_index(batch_op.f("ix_media_attachments_sha256"), ["sha256"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("media_attachments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_media_attachments_sha256"))
        batch_op.drop_index(
            "ix_media_attachments_due",
            sqlite_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
            postgresql_where=sa.text("state IN ('pending', 'downloading', 'needs_attention')"),
        )
        batch_op.drop_index(
            "ix_media_attachments_copies_due",
            sqlite_where=sa.text("copy_state = 'due'"),
            postgresql_where=sa.text("copy_state = 'due'"),
        )
        batch_op.drop_index("idx_message")
        batch_op.drop_index("idx_conversation")

    op.drop_table("media_attachments")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index("ix_messages_timeline")

    op.drop_table("messages")
    with op.batch_alter_table("conversation_aliases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_conversation_aliases_conversation_id"))

    op.drop_table("conversation_aliases")
    with op.batch_alter_table("contact_numbers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_contact_numbers_number"))

    op.drop_table("contact_numbers")
    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_events_state"))
        batch_op.drop_index(batch_op.f("ix_webhook_events_received_at"))
        batch_op.drop_index(
            "ix_webhook_events_open",
            sqlite_where=sa.text("state = 'received'"),
            postgresql_where=sa.text("state = 'received'"),
        )

    op.drop_table("webhook_events")
    op.drop_table("refused_deliveries")
    op.drop_table("lines")
    op.drop_table("duties")
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index("ix_conversations_participants")
        batch_op.drop_index(batch_op.f("ix_conversations_line"))
        batch_op.drop_index("ix_conversations_latest")

    op.drop_table("conversations")
    op.drop_table("contacts")
