"""The database and the store; what every connection and table has in common.

SQLite is made as safe as PostgreSQL before it is used: an answered webhook must survive a power
cut. `DELETE` with `FULL`, SQLite's own default, lost the last commit in five of five simulated
ones; the pairs chosen below lost none. The settings are read back, and a difference stops the boot.
"""

import enum
import random
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app, g, has_request_context, request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, registry

from viewer import storage

try:  # the newer SQLite, where there is a wheel of it
    from pysqlite3 import dbapi2 as sqlite
except ImportError:
    import sqlite3 as sqlite

# How long to wait for another writer: a webhook's sender is waiting too, a worker has time.
REQUEST_PATIENCE, WORK_PATIENCE = 5.0, 30.0  # seconds

POSTGRES = {
    "pool_pre_ping": True,  # a restarted server costs one ping, not one lost request
    # A server that takes the call and says nothing must not outlast the webhook's sender.
    "connect_args": {
        "connect_timeout": 5,
        "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s",
    },
}

# WAL can corrupt a database with several checkpointing connections before these versions.
WAL_IS_SOUND = ((3, 44, 6), (3, 45, 0)), ((3, 50, 7), (3, 51, 0)), ((3, 51, 3), (99,))


class UnsafeDatabase(Exception):
    """The database would not keep what it confirms."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment, always with zone UTC. SQLite keeps none, so it is put back on the way out."""

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
    # A job reads a row, commits, and then works for minutes: reading an attribute afterwards must
    # not silently open a transaction that holds a lock all the while.
    session_options={"expire_on_commit": False},
    disable_autonaming=True,
)
migrate = Migrate()

# What tables derive from. Flask-SQLAlchemy makes db.Model at run time; it is a Base with extras.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def init_app(app: Flask) -> None:
    is_sqlite = app.config["SQLALCHEMY_DATABASE_URI"].startswith("sqlite")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "hide_parameters": True,  # they are customers' words, and errors end in logs
        **({"module": sqlite} if is_sqlite else POSTGRES),
    }
    db.init_app(app)
    migrate.init_app(
        app, db, directory=str(app.config["ROOT"] / "migrations"), include_name=is_of_a_model
    )
    settings = app.config["SETTINGS"]
    store = storage.from_url(f"folder:{settings.media_root}", settings.X_ACCEL_PREFIX)
    app.extensions |= {
        "store": store,
        "spool": storage.Workspace(settings.media_root, store),
        "store_is_known": False,
    }
    with app.app_context():
        if is_sqlite:
            _make_sqlite_safe(db.engine)
            db.engine.connect().close()  # an unsafe database stops the boot, not the first webhook


def is_of_a_model(name: str | None, _kind: str, _parents: object) -> bool:
    """Whether migrations compare it with the models: not the full text, made for each database."""
    return not (name or "").startswith(
        ("search_words", "ix_search_entries_words", "work_words", "ix_work_entries_words")
    )


class Lock(enum.StrEnum):
    """Cluster-wide locks. The values are what PostgreSQL hashes: hosts of two versions share them.

    Take `INGEST` first, before any row is locked: ingest does, and two orders would deadlock.
    """

    INGEST = (
        "ingest"  # what deliveries become: conversations, messages, unread rows, search entries
    )
    FAILED_LOGINS = "failed logins"  # the audit entry of this hour, counted up
    OWNERS = "owners"  # that one owner remains: two could demote each other at one moment
    REFUSED_DELIVERIES = "refused"  # the hour's counter of refused deliveries
    SHARE_REQUESTS = "shared"  # how often strangers opened share links, by address
    STORE_IDENTITY = "store identity"  # the one row that says which store is ours
    THROTTLE = "throttle"  # how many passwords were tried, by name and by address
    # One for each key: `lock(Lock.NEXT_NUMBER, "quote")`.
    NEXT_NUMBER = "next "  # the next number of a kind of work record
    SCHEDULED_TASK = "duty:"  # who holds the lease of a scheduled task


def lock(name: Lock, key: str = "") -> None:
    """Cluster-wide lock, held until the transaction ends.

    SQLite has one lock for everything: its writers begin with BEGIN IMMEDIATE, one at a time.
    """
    db.session.connection()  # begin now, not with whatever is asked next
    if db.engine.dialect.name == "postgresql":
        db.session.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"{name}{key}"}
        )


def begin_writing() -> None:
    """For the few pages that write although they are only looked at: note that they were."""
    db.session.rollback()  # what was read may be old; SQLite would refuse to write after it
    g.writes = True


def media_store() -> storage.Store:
    """Where originals and their derivatives are kept; it gives nothing unless it is our own.

    Whose it must be is read from the database at the first use in each process, so it holds for
    whatever server loaded the application.
    """
    found: storage.Store = current_app.extensions["store"]
    if not current_app.extensions["store_is_known"]:
        identity = _store_identity()
        if identity is not None:
            found.expect(str(identity))
            current_app.extensions["store_is_known"] = True
    return found


def unproven_store() -> storage.Store:
    """The same store without an expectation: for who is about to find out whose it is."""
    settings = current_app.config["SETTINGS"]
    return storage.from_url(f"folder:{settings.media_root}")


def spool() -> storage.Spool:
    """Where files are on their way into the store."""
    media_store()  # its workspace takes nothing either unless it is our own
    found: storage.Spool = current_app.extensions["spool"]
    return found


def _store_identity() -> uuid.UUID | None:
    """None before the first start. Leaves no transaction open that was not."""
    is_open = db.session().in_transaction()
    # By its name: models stand above this file.
    known = sa.table("store_identities", sa.column("id", sa.Uuid()))
    with db.session.no_autoflush:
        found: uuid.UUID | None = db.session.scalar(sa.select(known.c.id))
    if not is_open:
        db.session.commit()  # a disk or a child may be waited for next, and no one for us
    return found


def now() -> datetime:
    return datetime.now(UTC)


def _make_sqlite_safe(engine: sa.Engine) -> None:
    wanted = _safe_pair()

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
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
        # A transaction that reads first and writes later can fail at once with "database is
        # locked", whatever the timeout. Only the pages, which never write, begin without the lock.
        reads = has_request_context() and request.method in ("GET", "HEAD")
        if reads and "writes" not in g:
            connection.exec_driver_sql("BEGIN")
        else:
            patience = REQUEST_PATIENCE if has_request_context() else WORK_PATIENCE
            _begin_writing(connection.connection.dbapi_connection, patience)


def _begin_writing(connection: Any, patience: float) -> None:
    """BEGIN IMMEDIATE, trying every few milliseconds.

    SQLite's own waiting sleeps up to 100 ms at a time: under a burst the lock was free and nobody
    took it, and who came last waited longest (a webhook's median was 46 ms, worst 1.5 s).
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
                time.sleep(random.uniform(0.001, 0.004))  # noqa: S311 - no secret
    finally:
        # For what may still wait: a commit for readers, without WAL.
        connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")


def _safe_pair() -> tuple[str, int]:
    version = sqlite.sqlite_version_info
    if any(low <= version < high for low, high in WAL_IS_SOUND):
        return "wal", 2  # FULL
    return "truncate", 3  # EXTRA
