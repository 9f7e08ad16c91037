"""Files move between stores, and one store is chosen for new files."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLE = "media_attachments"
STORES = (
    ("host", sa.String(255), {"nullable": True}),
    ("is_wanted", sa.Boolean(), {"nullable": False, "server_default": sa.false()}),
    ("retired_at", sa.DateTime(timezone=True), {"nullable": True}),
)
MEDIA = (
    ("moved_at", sa.DateTime(timezone=True), {"nullable": True}),
    ("push_wanted_at", sa.DateTime(timezone=True), {"nullable": True}),
    ("push_due_at", sa.DateTime(timezone=True), {"nullable": True}),
    ("push_attempts", sa.Integer(), {"nullable": False, "server_default": "0"}),
    ("push_problem", sa.String(500), {"nullable": True}),
)
INDEXES = (
    ("to_push", ["storage", "push_due_at"], "push_due_at IS NOT NULL"),
    ("moved", ["moved_at"], "former_storage IS NOT NULL"),
)


def upgrade() -> None:
    for table, columns in (("stores", STORES), (TABLE, MEDIA)):
        for name, kind, more in columns:
            op.add_column(table, sa.Column(name, kind, **more))
    op.create_index(
        "uq_stores_wanted",
        "stores",
        ["is_wanted"],
        unique=True,
        sqlite_where=sa.text("is_wanted"),
        postgresql_where=sa.text("is_wanted"),
    )
    for name, columns, which in INDEXES:
        op.create_index(
            f"ix_{TABLE}_{name}",
            TABLE,
            columns,
            sqlite_where=sa.text(which),
            postgresql_where=sa.text(which),
        )


def downgrade() -> None:
    for name, _, _ in INDEXES:
        op.drop_index(f"ix_{TABLE}_{name}", TABLE)
    op.drop_index("uq_stores_wanted", "stores")
    for table, columns in ((TABLE, MEDIA), ("stores", STORES)):
        for name, _, _ in reversed(columns):
            op.drop_column(table, name)
