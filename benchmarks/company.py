"""A database filled with the rows of a company of any size, as quickly as it takes them."""

import hashlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import flask_migrate
import psycopg
import sqlalchemy as sa
from flask import Flask, g, session
from flask.testing import FlaskClient
from psycopg import sql

from benchmarks.rows import COLUMNS, NOW, OURS, YEARS, Company
from tests.support.stored_files import place
from viewer import create_app, holdings
from viewer.extensions import db, sqlite_driver
from viewer.models import Checkpoint, MediaAttachment, User
from viewer.office import accounts
from viewer.search import indexing
from viewer.upkeep import analyze as table_statistics
from viewer.upkeep import identity
from viewer.upkeep.health import totals
from viewer.web import access

AT_ONCE = 20_000  # rows
REAL, SIZE = 8, 123_456  # files whose bytes are there, and their size; no other has it


def fill(company: Company, url: str) -> None:
    """Write all rows, as quickly as the database takes them."""
    begun = time.monotonic()
    write = _into_postgres if url.startswith("postgresql") else _into_sqlite
    with write(url) as put:
        waiting: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
        for count, (table, row) in enumerate(company.rows()):
            waiting[table].append(row)
            if count % AT_ONCE == 0:
                for name, rows in waiting.items():
                    put(name, rows)
                    rows.clear()
        for name, rows in waiting.items():
            put(name, rows)
    print(f"  filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)


@contextmanager
def _into_sqlite(url: str) -> Iterator[Callable[[str, list[tuple[Any, ...]]], None]]:
    connection = sqlite_driver.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = OFF")  # nobody else is here, and nothing is lost
    connection.execute("PRAGMA cache_size = -1000000")
    connection.execute("PRAGMA temp_store = MEMORY")
    # Indexes and lists of words are made at the end, at one go: kept up row by row they take hours.
    made_later = connection.execute(
        "SELECT type, name, sql FROM sqlite_master"
        " WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    ).fetchall()
    for kind, name, _ in made_later:
        connection.execute(f"DROP {kind} {name}")
    connection.execute("BEGIN")

    def plain(value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return value.hex
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S.%f")
        return json.dumps(value) if isinstance(value, list | dict) else value

    def put(table: str, rows: list[tuple[Any, ...]]) -> None:
        names = COLUMNS[table].split()
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
            [[plain(value) for value in row] for row in rows],
        )

    yield put
    for words in ("search_words", "work_words"):
        connection.execute(f"INSERT INTO {words} ({words}) VALUES ('rebuild')")  # noqa: S608
    for _, _, statement in made_later:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


def drop_indexes(connection: psycopg.Connection) -> list[LiteralString]:
    """Drop what no constraint needs. The statements that make it again."""
    found = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND NOT EXISTS"
        " (SELECT FROM pg_constraint WHERE conname = indexname)"
    ).fetchall()
    for name, _ in found:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    return [statement for _, statement in found]


@contextmanager
def _into_postgres(url: str) -> Iterator[Callable[[str, list[tuple[Any, ...]]], None]]:
    with psycopg.connect(url) as connection:
        # Rows come conversation by conversation, each before what refers to it but for the batch.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '1GB'")
        made_later = drop_indexes(connection)

        def plain(value: Any) -> Any:
            return json.dumps(value) if isinstance(value, list | dict) else value

        def put(table: str, rows: list[tuple[Any, ...]]) -> None:
            names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split()))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
            with connection.cursor().copy(query) as copy:
                for row in rows:
                    copy.write_row([plain(value) for value in row])

        yield put
        for statement in made_later:
            connection.execute(statement)


def make(folder: Path, url: str, messages: int) -> Flask:
    """An application on a database with a company of this size, and a tenth as many files."""
    app = create_app(
        {
            "DATA_DIR": folder,
            "DATABASE_URL": url,
            "REDIS_URL": "unix:///nowhere",
            "QUO_WEBHOOK_SECRETS": "whsec_YmVuY2gtb25seS1rZXktYmVuY2g=",
            "QUO_NUMBERS": OURS,
        }
    )
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        if db.session.scalar(sa.select(User.id).limit(1)) is None:
            company = Company(messages)
            for role in reversed(User.Role):
                user = accounts.add(f"{role}@bench.example", role, role.capitalize())
                user.created_at = NOW - 2 * YEARS
                company.users.append(user.id)
            company.storage = holdings.own_id()
            db.session.commit()
            db.session.remove()
            db.engine.dispose()
            fill(company, url)
            Checkpoint.write(indexing.MARK, indexing.VERSION)
            place_files()
            totals.count()  # as the schedule does
            db.session.commit()
            _know_tables(url)
        db.session.remove()
    return app


def opened(folder: Path, messages: int) -> Flask:
    """The same on SQLite, in a folder of its own within this one."""
    place_of = folder / str(messages)
    place_of.mkdir(parents=True)
    return make(place_of, f"sqlite:///{place_of}/viewer.db", messages)


def dispose(app: Flask) -> None:
    """Close its connections, so that its database may go."""
    with app.app_context():
        db.engine.dispose()


def place_files() -> None:
    """Give a few photos what most rows only speak of: an original and a thumbnail in the store."""
    stored = sa.select(MediaAttachment).where(
        MediaAttachment.state == MediaAttachment.State.STORED,
        MediaAttachment.media_type == MediaAttachment.MediaType.PHOTO,
    )
    for media in db.session.scalars(stored.order_by(MediaAttachment.id).limit(REAL)):
        content = media.id.bytes.ljust(SIZE, b"\0")
        media.sha256, media.file_size = hashlib.sha256(content).hexdigest(), SIZE
        media.file_stem = f"2026/09/21/617-555-0123/messages/{media.id}"
        media.file_path, media.thumbnail_path = f"{media.file_stem}.jpg", f"{media.file_stem}_t.jpg"
        for key in (media.file_path, media.thumbnail_path):
            place(content, key, holdings.spool(), holdings.own())


def _know_tables(url: str) -> None:
    """What autovacuum does, or the scheduler."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    else:
        table_statistics.refresh()
        db.session.commit()
    db.engine.dispose()


def log_in(app: Flask, role: str) -> FlaskClient:
    """A browser in which the user of this role is logged in."""
    with app.app_context(), app.test_request_context():
        g.user = None
        access.start_session(
            db.session.scalars(sa.select(User).filter_by(role=User.Role(role))).one()
        )
        kept = dict(session)
        db.session.commit()
    browser = app.test_client()
    with browser.session_transaction() as fresh:
        fresh.update(kept)
    return browser
