"""A viewer with odd rows in every table, and an empty database to copy it into."""

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support import every_table, factories
from viewer import create_app
from viewer.extensions import db, now
from viewer.models import (
    AuditEntry,
    MediaAttachment,
    Message,
    ScheduledTask,
    UpkeepRun,
    WebhookEvent,
)
from viewer.search import indexing
from viewer.upkeep import db_copy

ODD = "Zoë’s “crack” 🧱 tab\t, \\N, \\., \r\n'quotes\" 100% \x01\x7f\ufeff"
NESTED = {"é": [1, 1.5, -0.0, None, True, "\0", "\ud83d", ODD], "": {}, "z": 2**60, "a": []}


@pytest.fixture
def odd_rows(app: Flask) -> None:
    """A plain row in every table, and more that a careless copy would change."""
    every_table.fill()
    ada = factories.customer("+16175550123", "Ada Crack")
    chance = random.Random(64)
    for number in range(30):
        message = factories.text(
            ada,
            datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**13)),
            body=f"{ODD} {number}",
            said=NESTED,
            transcript=[NESTED, number],
            summary=[] if number % 2 else None,
            duration_seconds=chance.choice([0.1 + 0.2, 1e-300, 1e300, 5.0, None]),
            has_voicemail=chance.choice([True, False, None]),
            answered_at=datetime(1970, 1, 1, tzinfo=UTC),
        )
        factories.files(message, file_size=2**40 + number, caption=ODD, peaks=[0, 100])
    db.session.add_all(
        [
            WebhookEvent(delivery_id=f"EV{number}", scheme="standard", body=bytes(range(256)) * 9)
            for number in range(5)
        ]
    )
    factories.quote(ada, "Q-1", title="Zoë’s crack")
    invoice = factories.invoice(ada, "INV-1", due_on=date(2024, 2, 29))
    invoice.amount, invoice.notes = 2**53 + 1, ODD
    db.session.add(AuditEntry(who="ada@crack.example", action="login", subject_id=uuid.uuid4()))
    db.session.add(UpkeepRun(kind="verify", subject="folder:/x", counts=NESTED, words=ODD))
    indexing.index_messages(list(db.session.scalars(sa.select(Message))))
    indexing.index_conversations([ada])
    db.session.commit()


@pytest.fixture
def busy_rows(odd_rows: None) -> None:
    """And what a process that was killed leaves behind."""
    media = db.session.scalars(sa.select(MediaAttachment).limit(1)).one()
    media.state, media.lease_until = MediaAttachment.State.DOWNLOADING, now() + timedelta(hours=1)
    ScheduledTask.take_lease("sweep", "gone:1:sweep", seconds=3600, every=10)
    db.session.commit()


@pytest.fixture
def target(tmp_path: Path, migrated: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database on PostgreSQL, with tables; the test may ask for SQLite, or for `new`."""
    kind = getattr(request, "param", "postgresql")
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/copy.db"
        return
    server = request.getfixturevalue("postgres")
    name = server.create("template1" if kind == "new" else migrated("postgresql"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def copy(settings: dict[str, Any], target: str) -> Callable[..., db_copy.Result]:
    """What the command does, without its locks."""

    def run(**words: Any) -> db_copy.Result:
        return db_copy.copy(target, lambda more: create_app(settings | more), **words)

    return run


@pytest.fixture
def opened(settings: dict[str, Any]) -> Callable[..., Any]:
    """`with opened(url):` the viewer's application on that database."""

    @contextmanager
    def enter(url: str) -> Iterator[Flask]:
        app = create_app(settings | {"DATABASE_URL": url})
        with app.app_context():
            try:
                yield app
            finally:
                db.session.remove()
                db.engine.dispose()

    return enter


def all_rows() -> dict[str, list[Any]]:
    """Every row of the current application's database as the program reads it, by its key."""
    with db.engine.connect() as connection:
        found = {
            table.name: sorted(
                connection.execute(sa.select(table)).all(),
                key=lambda row, table=table: [str(row._mapping[key]) for key in table.primary_key],
            )
            for table in db.metadata.sorted_tables
        }
    db.engine.dispose()
    return found


def is_empty() -> bool:
    """Whether the current application's database has no row of ours."""
    has_tables = sa.inspect(db.engine).get_table_names()
    return not has_tables or not any(all_rows().values())
