"""Connections that the web server cut are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cut_connections",
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("reason", "hour", name=op.f("pk_cut_connections")),
    )


def downgrade() -> None:
    op.drop_table("cut_connections")
