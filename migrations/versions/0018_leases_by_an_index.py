"""The sweep finds leases that have expired by an index, however many files wait."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

NAME, TABLE = "ix_media_attachments_leases", "media_attachments"
LEASED = sa.text("state = 'downloading'")


def upgrade() -> None:
    op.create_index(NAME, TABLE, ["lease_until"], sqlite_where=LEASED, postgresql_where=LEASED)


def downgrade() -> None:
    op.drop_index(NAME, TABLE)
