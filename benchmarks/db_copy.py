"""`viewer db copy` of a company with a million messages, from SQLite to PostgreSQL.

Beside it, a bare COPY: what a script of a page would do. It reads the same rows, sends them into
the same tables, and makes the indexes afterwards; it takes no lock, compares nothing, and would not
notice a row that changed on its way. Both write into new databases of one server.

Every message has its delivery of webhooks, and every tenth a file, whose bytes are elsewhere.

    python -m benchmarks.db_copy [--messages 1000000]
"""

import argparse
import json
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import flask_migrate
import psycopg
from flask import Flask
from psycopg import sql

from benchmarks import company, figures
from tests.payloads import Message
from tests.support import servers
from viewer import create_app
from viewer.extensions import db, sqlite_driver
from viewer.upkeep import db_copy

_DELIVERIES = """
    INSERT INTO webhook_events
        (id, delivery_id, scheme, body, received_at, state, kind, tells_of, attempts, processed_at)
    SELECT lower(hex(randomblob(16))), 'EV' || provider_id, 'standard', ?, sent_at, 'processed',
        'message.received', provider_id, 0, sent_at
    FROM messages
"""


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name, servers.running_postgres(is_durable=True) as server:
        folder = Path(name)
        source = folder / "viewer.db"
        app = company.make(folder, f"sqlite:///{source}", asked.messages)
        company.dispose(app)
        _deliver(source)
        report.say(f"SQLite: {source.stat().st_size / 1e6:,.0f} MB")

        ours, begun = server.url(server.create()), time.monotonic()
        with app.app_context():
            result = db_copy.copy(ours, lambda more: create_app(_settings(app) | more))
        seconds = time.monotonic() - begun
        report.say(str(result))
        stages = ", ".join(f"{stage} {took:.0f} s" for stage, took in result.seconds.items())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        report.say(
            f"viewer db copy: {seconds:.0f} s ({stages}), {result.rows / seconds:,.0f} rows/s;"
            f" peak memory with the filling of the source {memory:.0f} MB"
        )
        for table, rows in sorted(result.tables.items(), key=lambda one: -one[1])[:6]:
            size = _size(ours, table)
            report.say(
                f"  {table}: {rows:,} rows, {size / 1e6:,.0f} MB in PostgreSQL with its indexes,"
                f" {size / rows:,.0f} bytes a row"
            )
        report.say(f"PostgreSQL: {_size(ours) / 1e6:,.0f} MB")

        bare = _bare_copy(app, source, server.url(server.create()))
        report.say(f"bare COPY: {bare:.0f} s; ours took {seconds / bare:.1f} times as long")


def _settings(app: Flask) -> dict[str, Any]:
    return {"DATA_DIR": app.config["SETTINGS"].data_dir, "REDIS_URL": "unix:///nowhere"}


def _deliver(source: Path) -> None:
    """A delivery for each message, as the provider sends it."""
    words = "There is a crack in the basement wall, and it got wider since the spring."
    body = json.dumps(Message(number=1, text=words).payload()).encode()
    with closing(sqlite_driver.connect(source)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_DELIVERIES, (body,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _bare_copy(app: Flask, source: Path, url: str) -> float:
    """Seconds."""
    begun = time.monotonic()
    with create_app(_settings(app) | {"DATABASE_URL": url}).app_context():
        flask_migrate.upgrade()
        db.engine.dispose()
        tables = db.metadata.sorted_tables
    with closing(sqlite_driver.connect(source)) as rows, psycopg.connect(url) as there:
        there.execute("SET maintenance_work_mem = '256MB'")
        there.execute("SET TimeZone = 'UTC'")
        made_later = company.drop_indexes(there)
        for table in tables:
            names = [column.name for column in table.columns]
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
            with there.cursor().copy(query) as copy:
                listed = ", ".join(names)
                for row in rows.execute(f"SELECT {listed} FROM {table.name}"):  # noqa: S608
                    copy.write_row(row)
        for statement in made_later:
            there.execute(statement)
        there.execute("ANALYZE")
    return time.monotonic() - begun


def _size(url: str, table: str | None = None) -> int:
    """Bytes of a table with its indexes, or of the whole database."""
    query = "pg_total_relation_size(%s)" if table else "pg_database_size(%s)"
    with psycopg.connect(url) as there:
        found = there.execute(f"SELECT {query}", (table or there.info.dbname,)).fetchone()
    assert found
    return int(found[0])


if __name__ == "__main__":
    figures.run(__doc__, measure, messages=(1_000_000, 5_000))
