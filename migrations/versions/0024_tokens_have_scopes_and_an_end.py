"""API tokens have scopes and an end."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TABLE = "api_tokens"
# What a token could do until now: all that the role of its user may.
SCOPES = {
    "field": ["read", "link"],
    "office": ["read", "link", "write"],
    "owner": ["read", "link", "write", "metrics"],
}
LASTS = timedelta(days=90)  # from now: programs in use get the time of a new token


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(TABLE, sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        TABLE,
        sa.Column("outlives_password", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    users = sa.table("users", sa.column("id", sa.Uuid()), sa.column("role", sa.String()))
    tokens = sa.table(
        TABLE,
        sa.column("user_id", sa.Uuid()),
        sa.column("scopes", sa.JSON()),
        sa.column("expires_at", sa.DateTime(timezone=True)),
    )
    for role, scopes in SCOPES.items():
        op.execute(
            tokens.update()
            .where(tokens.c.user_id.in_(sa.select(users.c.id).where(users.c.role == role)))
            .values(scopes=scopes, expires_at=datetime.now(UTC) + LASTS)
        )
    with op.batch_alter_table(TABLE) as batch_op:
        batch_op.alter_column("scopes", existing_type=sa.JSON(none_as_null=True), nullable=False)


def downgrade() -> None:
    for name in ("outlives_password", "expires_at", "scopes"):
        op.drop_column(TABLE, name)
