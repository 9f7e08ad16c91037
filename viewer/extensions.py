"""The database: engine settings, declarative base, cluster-wide locks.

Configure SQLite to be as durable as PostgreSQL: an acknowledged webhook must survive a power cut.
`journal_mode=DELETE` with `synchronous=FULL`, SQLite's default, lost the last commit in five of
five simulated power cuts; the pairs chosen below lost none. Each connection reads the pragmas back,
and a mismatch stops the boot.
"""

import contextlib
import enum
import functools
import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app, g, has_request_context, request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.orm import DeclarativeBase, registry

from viewer.outages import Outages

try:  # prefer the newer SQLite, where pysqlite3 has a wheel
    from pysqlite3 import dbapi2 as sqlite
except ImportError:
    import sqlite3 as sqlite

sqlite_driver: Any = sqlite  # the module in use, for SQLite files beside the viewer's database

# Timeouts for the SQLite write lock: in a request the client waits too, a worker has time.
REQUEST_PATIENCE, WORK_PATIENCE = 5.0, 30.0  # seconds
# Between two tries. Who asks more often gets it first: beside busy workers, webhooks at 0.4 ms
# instead of 4 ms are answered 1.5 times as often, and their p99 fell from 65 to 40 ms.
REQUEST_PAUSE, WORK_PAUSE = 0.0004, 0.004  # seconds, at most

POSTGRES = {
    # A server that accepts connections but never answers must not outlast the sender's timeout.
    "connect_args": {
        "connect_timeout": 5,
        "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s",
    },
}

# Seconds after which a connection that nobody used is asked whether it lives: a restarted server
# then costs one ping, not one failed request. `pool_pre_ping` asks each time: 13 % of a webhook.
PING_AFTER = 1.0

# An execution option of a connection to SQLite: its transaction begins without the write lock, and
# its statements are added to the list given. See `viewer.transactions`.
READS = "viewer_reads"

# Version ranges [low, high) without SQLite's WAL-reset bug, by which concurrent checkpoints can
# corrupt a database (sqlite.org/wal.html#walresetbug).
WAL_IS_SOUND = ((3, 44, 6), (3, 45, 0)), ((3, 50, 7), (3, 51, 0)), ((3, 51, 3), (99,))


DATABASE, REDIS = "The database", "Redis"  # as an outage is logged
_SQLITE_AWAY = ("locked", "unable to open", "disk I/O", "disk is full", "readonly")


class UnsafeDatabase(Exception):
    """The database could lose committed transactions."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A timezone-aware UTC datetime. SQLite stores no time zone, so it is restored on load."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _enum_by_value(kinds: type[enum.Enum]) -> list[str]:
    return [str(kind.value) for kind in kinds]


class Base(DeclarativeBase):
    registry = registry(
        metadata=sa.MetaData(
            naming_convention={
                "ix": "ix_%(column_0_label)s",
                "uq": "uq_%(table_name)s_%(column_0_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            datetime: UtcDateTime(),
            uuid.UUID: sa.Uuid(),
            enum.StrEnum: sa.Enum(
                enum.StrEnum, native_enum=False, length=30, values_callable=_enum_by_value
            ),
            dict[str, Any]: sa.JSON(none_as_null=True),
            list[Any]: sa.JSON(none_as_null=True),
        },
    )


db = SQLAlchemy(
    model_class=Base,
    # A job reads a row, commits, and then works for minutes: a later attribute access must not
    # refresh the row, and thereby open a transaction that holds a lock all that time.
    session_options={"expire_on_commit": False},
    disable_autonaming=True,
)
migrate = Migrate()

# The base class of all models. Flask-SQLAlchemy creates db.Model, a Base with extras, at run time.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def init_app(app: Flask) -> None:
    is_sqlite = app.config["SQLALCHEMY_DATABASE_URI"].startswith("sqlite")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "hide_parameters": True,  # they hold customers' messages, and errors end up in logs
        **({"module": sqlite} if is_sqlite else POSTGRES),
    }
    app.extensions["outages"] = outages = Outages()
    db.init_app(app)
    migrate.init_app(
        app, db, directory=str(app.config["ROOT"] / "migrations"), include_name=is_of_a_model
    )
    with app.app_context():
        if is_sqlite:
            _make_sqlite_safe(db.engine)
            db.engine.connect().close()  # an unsafe database stops the boot, not the first webhook
        else:
            _ping_after_a_pause(db.engine)
        # After an outage of PostgreSQL the pool is empty. A file that can be opened proves nothing.
        sign = "commit" if is_sqlite else "connect"
        sa.event.listen(db.engine, sign, lambda *_: outages.end(DATABASE))


def note_outage(error: sa.exc.DBAPIError) -> bool:
    """Log that the database is away, once an outage. Whether it is: else the statement is wrong."""
    is_away = _is_away(error)
    if is_away:
        reason = str(error.orig).strip().partition("\n")[0]
        current_outages().note(DATABASE, reason)
    return is_away


def current_outages() -> Outages:
    """The outages that this process knows of."""
    found: Outages = current_app.extensions["outages"]
    return found


def _is_away(error: sa.exc.DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if not isinstance(error, sa.exc.OperationalError):
        return False
    if db.engine.dialect.name == "sqlite":
        return any(words in str(error.orig) for words in _SQLITE_AWAY)
    # Without a state nobody answered; 53: no resources, 57P: shut down or starting, 08: connection.
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "53", "57P"))


def is_of_a_model(name: str | None, _kind: str, _parents: object) -> bool:
    """Whether Alembic compares this object with the models.

    It skips the full-text tables and indexes, which migrations create for each database in its
    own dialect.
    """
    return not (name or "").startswith(
        ("search_words", "ix_search_entries_words", "work_words", "ix_work_entries_words")
    )


class Lock(enum.StrEnum):
    """Names of the cluster-wide locks.

    PostgreSQL hashes the values, and hosts of two versions share them: do not change one. Take
    `INGEST` first, before any row lock: ingest does, and two lock orders would deadlock.
    """

    # What ingest writes: conversations, messages, search entries. Shared by whoever then locks the
    # parts it touches (`lock_parts`); alone by the rare ingest that moves messages. A shared lock
    # is never upgraded (two would wait for each other): roll back, and begin again alone.
    INGEST = "ingest"
    SEARCH_INDEX = "search index"  # how far older rows have been indexed
    QUESTIONS = "questions"  # requests to the provider that are to be repeated
    AUDIT_COUNTS = "failed logins"  # the counters in the audit log, one an hour
    OWNERS = "owners"  # one owner must remain: two could demote each other concurrently
    REFUSED_DELIVERIES = "refused"  # the hourly counter of refused deliveries
    SHARE_REQUESTS = "shared"  # the rate limit of share links, by client address
    STORE_IDENTITY = "store identity"  # the rows of stores, and their markers
    THROTTLE = "throttle"  # the rate limit of logins, by account and by client address
    # These take a key: `lock(Lock.NEXT_NUMBER, "quote")`.
    NEXT_NUMBER = "next "  # the next number of a kind of work record; key: the kind
    SCHEDULED_TASK = "duty:"  # the lease of a scheduled task; key: the task's name


def lock(name: Lock, key: str = "", *, shared: bool = False) -> None:
    """Cluster-wide lock, held until the transaction ends. Many may hold it `shared`, else one.

    An advisory lock on PostgreSQL. SQLite needs none: it has a single write lock, which writers
    take with BEGIN IMMEDIATE.
    """
    db.session.connection()  # begin the transaction now, not with the next query
    if db.engine.dialect.name == "postgresql":
        taken = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        db.session.execute(
            sa.text(f"SELECT {taken}(hashtext(:name))"),
            {"name": f"{name}{key}"},
        )


def lock_parts(*parts: str) -> None:
    """Lock parts of what `INGEST` covers, which is held `shared`: a message, a thread, a number.

    One statement, in an order that is the same for everybody, so that two never deadlock. Until the
    transaction ends.
    """
    if parts and db.engine.dialect.name == "postgresql":
        db.session.execute(
            sa.text(
                "SELECT pg_advisory_xact_lock(part) FROM unnest(CAST(:parts AS bigint[])) part"
            ),
            {"parts": sorted({_part_id(part) for part in parts})},
        )


def _part_id(part: str) -> int:
    # Beyond the 32 bits of hashtext(): no part shares an id with a lock that has a name.
    digest = hashlib.sha256(part.encode()).digest()
    return int.from_bytes(digest[:8], signed=True) | 1 << 40


def run_upsert(make: Callable[[Any], sa.Insert], **values: Any) -> int:
    """Run an INSERT that knows ON CONFLICT, in the dialect of this database. Returns the rowcount.

    `make` gets the dialect's `insert`, and makes one statement for all values: to put one together
    takes ten times as long as to run it, mostly under SQLite's write lock.
    """
    done = db.session.connection().execute(
        upsert(make, db.engine.dialect.name),
        values,
        execution_options={"preserve_rowcount": True},  # else it is -1 after an INSERT
    )
    return done.rowcount


@functools.cache
def upsert(make: Callable[[Any], sa.Insert], dialect: str) -> sa.Insert:
    """Return what `make` puts together with this dialect's `insert`, always the same object."""
    return make(postgresql.insert if dialect == "postgresql" else sqlite_dialect.insert)


def begin_writing() -> None:
    """Let this GET write: restart its transaction as a write. For the few pages that need it.

    Holds for one transaction: the page is read and rendered after it, without the write lock.
    """
    db.session.rollback()  # its snapshot may be stale, and SQLite then refuses the write
    g.writes = True


# Execution options of a connection that works for a request, where Flask knows of none.
HURRY = {"is_hurried": True}

# Execution options of a connection that asks one query and writes nothing: SQLite needs no BEGIN.
ONE_QUERY = {"is_one_query": True}


@contextlib.contextmanager
def one_query() -> Iterator[sa.Connection]:
    """A connection for a single query. On SQLite it takes no write lock."""
    with db.engine.connect() as connection:
        yield connection.execution_options(**ONE_QUERY)


def now() -> datetime:
    return datetime.now(UTC)


def _ping_after_a_pause(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "checkin")
    def note_use(_connection: object, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: object) -> None:
        if time.monotonic() > record.info.get("used_at", 0.0) + PING_AFTER:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise sa.exc.InvalidatePoolError from error  # connects anew


def _make_sqlite_safe(engine: sa.Engine) -> None:
    wanted = _safe_pair()

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # autocommit: BEGIN is emitted explicitly below
        connection.execute(f"PRAGMA busy_timeout = {int(WORK_PATIENCE * 1000)}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_mode = {wanted[0]}")
        connection.execute(f"PRAGMA synchronous = {wanted[1]}")
        found = (
            connection.execute("PRAGMA journal_mode").fetchone()[0],
            connection.execute("PRAGMA synchronous").fetchone()[0],
        )
        if found != wanted and found[0] != "memory":
            raise UnsafeDatabase(f"SQLite runs with {found}, not with {wanted}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A deferred transaction that reads first and writes later can fail at once with "database
        # is locked" (SQLITE_BUSY_SNAPSHOT), whatever the timeout. So only what does not write
        # begins without the write lock: GET and HEAD requests, and what says that it reads.
        options = connection.get_execution_options()
        if "is_one_query" in options:
            return  # one SELECT is consistent by itself
        reads = has_request_context() and request.method in ("GET", "HEAD")
        if READS in options or (reads and not g.pop("writes", False)):
            dbapi_connection: Any = connection.connection.dbapi_connection
            dbapi_connection.execute("BEGIN")
        else:
            begin_immediate(connection)

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note_read(
        connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        reads = connection.get_execution_options().get(READS)
        if reads is not None:
            reads.append((statement, parameters))


def begin_immediate(connection: sa.Connection) -> None:
    """Take SQLite's write lock for this connection, which has no transaction open."""
    is_request = has_request_context() or "is_hurried" in connection.get_execution_options()
    _begin_writing(
        connection.connection.dbapi_connection,
        patience=REQUEST_PATIENCE if is_request else WORK_PATIENCE,
        longest_pause=REQUEST_PAUSE if is_request else WORK_PAUSE,
    )


def _begin_writing(connection: Any, patience: float, longest_pause: float) -> None:
    """BEGIN IMMEDIATE, retried until it succeeds. Raises OperationalError after `patience`.

    SQLite's busy handler sleeps up to 100 ms at a time: under a burst the lock was free and nobody
    took it, and the latest arrival waited longest (a webhook's median was 46 ms, worst 1.5 s).
    Times are in seconds.
    """
    deadline = time.monotonic() + patience
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite.OperationalError as locked:
                if time.monotonic() > deadline:
                    raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, locked) from locked
                time.sleep(random.uniform(longest_pause / 4, longest_pause))  # noqa: S311 - no secret
    finally:
        # A later statement may still block: without WAL, COMMIT waits for readers.
        connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")


def _safe_pair() -> tuple[str, int]:
    version = sqlite.sqlite_version_info
    if any(low <= version < high for low, high in WAL_IS_SOUND):
        return "wal", 2  # FULL
    return "truncate", 3  # EXTRA
