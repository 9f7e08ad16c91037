"""Users have second factors, and sessions say when their user was last confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

USERS = (
    ("totp_secret", sa.String(255), {"nullable": True}),
    ("totp_step", sa.BigInteger(), {"nullable": True}),
    ("has_second_factor", sa.Boolean(), {"nullable": False, "server_default": sa.false()}),
    ("factors_reset_at", sa.DateTime(timezone=True), {"nullable": True}),
)
SESSIONS = (
    ("confirmed_at", sa.DateTime(timezone=True), {"nullable": True}),
    ("is_new_device", sa.Boolean(), {"nullable": False, "server_default": sa.false()}),
)


def _of_user(**more: object) -> sa.Column:
    return sa.Column("user_id", sa.Uuid(), **more)


def _user_key(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_user_id_users"
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    for table, columns in (("users", USERS), ("user_sessions", SESSIONS)):
        for name, kind, more in columns:
            op.add_column(table, sa.Column(name, kind, **more))
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Uuid(), nullable=False),
        _of_user(nullable=False),
        sa.Column("credential_id", sa.String(1400), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        _user_key("passkeys"),
        sa.PrimaryKeyConstraint("id", name="pk_passkeys"),
        sa.UniqueConstraint("credential_id", name="uq_passkeys_credential_id"),
    )
    op.create_index("ix_passkeys_user_id", "passkeys", ["user_id"])
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        _of_user(nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        _user_key("recovery_codes"),
        sa.PrimaryKeyConstraint("id", name="pk_recovery_codes"),
    )
    op.create_index("ix_recovery_codes_user_id", "recovery_codes", ["user_id"])
    op.create_table(
        "passkey_challenges",
        sa.Column("challenge", sa.String(100), nullable=False),
        _of_user(nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _user_key("passkey_challenges"),
        sa.PrimaryKeyConstraint("challenge", name="pk_passkey_challenges"),
    )
    op.create_index("ix_passkey_challenges_created_at", "passkey_challenges", ["created_at"])
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mails"),
    )
    op.create_index("ix_mails_due_at", "mails", ["due_at"])


def downgrade() -> None:
    for table in ("mails", "passkey_challenges", "recovery_codes", "passkeys"):
        op.drop_table(table)
    for table, columns in (("user_sessions", SESSIONS), ("users", USERS)):
        for name, _, _ in reversed(columns):
            op.drop_column(table, name)
