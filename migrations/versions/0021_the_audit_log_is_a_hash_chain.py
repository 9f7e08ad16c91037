"""The audit log is a hash chain; what is there already is sealed by the first run of its task."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TABLE = "audit_entries"
COLUMNS = (
    ("place", sa.BigInteger()),
    ("sealed_at", sa.DateTime(timezone=True)),
    ("salt", sa.String(32)),
    ("digest", sa.String(64)),
    ("chain", sa.String(64)),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column(TABLE, sa.Column(name, kind, nullable=True))
    op.create_index("uq_audit_entries_place", TABLE, ["place"], unique=True)
    op.create_index(
        "ix_audit_entries_unsealed",
        TABLE,
        ["action", "subject_id"],
        sqlite_where=sa.text("chain IS NULL"),
        postgresql_where=sa.text("chain IS NULL"),
    )
    op.create_table(
        "audit_chain",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.String(64), nullable=False),
        sa.Column("verified_place", sa.BigInteger(), nullable=False),
        sa.Column("verified_chain", sa.String(64), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verified_fully_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_chain")),
    )


def downgrade() -> None:
    op.drop_table("audit_chain")
    op.drop_index("ix_audit_entries_unsealed", TABLE)
    op.drop_index("uq_audit_entries_place", TABLE)
    for name, _ in reversed(COLUMNS):
        op.drop_column(TABLE, name)
