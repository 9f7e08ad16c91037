"""The trail counts what strangers repeat, and is found by person and by action."""

import sqlalchemy as sa
from alembic import op

revision = "0005_people"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("times", sa.Integer(), nullable=False, server_default="1"))
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.alter_column("times", server_default=None)
        batch_op.create_index("ix_audit_entries_who", ["who", "id"], unique=False)
        batch_op.create_index("ix_audit_entries_action", ["action", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_entries_action")
        batch_op.drop_index("ix_audit_entries_who")
        batch_op.drop_column("times")
