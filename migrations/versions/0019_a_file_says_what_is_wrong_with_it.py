"""A file says what is wrong with it, and a person can settle that."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLE = "media_attachments"
SWIPED = ["sent_at", "message_id", "position", "id"]
INCOMPLETE = "state = 'stored' AND trouble = 'incomplete' AND accepted_at IS NULL"
TROUBLED = "state IN ('needs_attention', 'damaged')"
ATTENTION = f"({TROUBLED} OR ({INCOMPLETE}))"
OPEN = "state IN ('pending', 'downloading', 'needs_attention', 'damaged')"
UNSETTLED = f"({OPEN[:-1]}, 'closed') OR trouble IS NOT NULL)"
TO_ASK_AGAIN = "state = 'stored' AND next_attempt_at IS NOT NULL"

# Name, columns, which rows: before and now.
CHANGED = (
    ("attention", ["conversation_id"], TROUBLED, ATTENTION),
    ("attention_oldest", ["created_at", "id"], TROUBLED, ATTENTION),
    ("unsettled", SWIPED, OPEN, UNSETTLED),
)
NEW = (
    ("incomplete", ["conversation_id"], INCOMPLETE),
    ("ask_again", ["next_attempt_at"], TO_ASK_AGAIN),
)
COLUMNS = (
    (
        "trouble",
        sa.Enum(
            *("unavailable", "refused", "not_the_file", "doubtful", "incomplete"),
            name="trouble",
            native_enum=False,
            length=30,
        ),
    ),
    ("superseded_path", sa.String(500)),
    ("accepted_at", sa.DateTime(timezone=True)),
    ("closed_at", sa.DateTime(timezone=True)),
    (
        "closed_as",
        sa.Enum("came_another_way", "given_up", name="closing", native_enum=False, length=30),
    ),
    ("closed_reason", sa.String(300)),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column(TABLE, sa.Column(name, kind, nullable=True))
    _note_troubles()
    for name, columns, _, which in CHANGED:
        op.drop_index(f"ix_{TABLE}_{name}", TABLE)
        _index(name, columns, which)
    for name, columns, which in NEW:
        _index(name, columns, which)


def downgrade() -> None:
    for name, _, _ in NEW:
        op.drop_index(f"ix_{TABLE}_{name}", TABLE)
    for name, columns, which, _ in CHANGED:
        op.drop_index(f"ix_{TABLE}_{name}", TABLE)
        _index(name, columns, which)
    op.execute("UPDATE media_attachments SET state = 'needs_attention' WHERE state = 'closed'")
    for name, _ in reversed(COLUMNS):
        op.drop_column(TABLE, name)


def _note_troubles() -> None:
    """From the sentences that said so until now."""
    for trouble, which in (
        (
            "incomplete",
            "state = 'stored' AND copy_problem = 'The file is incomplete: it ends early.'",
        ),
        (
            "not_the_file",
            "state = 'needs_attention'"
            " AND problem LIKE 'The phone provider sent % instead of the file.'",
        ),
        ("unavailable", "state = 'needs_attention' AND trouble IS NULL"),
    ):
        op.execute(f"UPDATE {TABLE} SET trouble = '{trouble}' WHERE {which}")  # noqa: S608


def _index(name: str, columns: list[str], which: str) -> None:
    op.create_index(
        f"ix_{TABLE}_{name}",
        TABLE,
        columns,
        sqlite_where=sa.text(which),
        postgresql_where=sa.text(which),
    )
