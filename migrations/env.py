"""Runs the migrations on the application's own engine. Started by Flask-Migrate."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import context
from flask import current_app

from viewer import models  # noqa: F401 - autogenerate compares with these tables
from viewer.extensions import UtcDateTime, db

engine = db.engine


def as_plain_type(kind: str, item: object, _context: object) -> str | bool:
    """Migrations must go on working when our own types have changed: they name plain ones."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


@contextlib.contextmanager
def copying_tables(connection: sa.Connection) -> Iterator[None]:
    """SQLite cannot change a table in place; Alembic then copies it (batch), and drops the first.

    Where foreign keys are kept, that fails or takes the rows that point to it along.
    See https://sqlite.org/lang_altertable.html#otheralter
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.dbapi_connection
    raw.execute("PRAGMA foreign_keys = OFF")  # heard outside transactions only
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys = ON")


def check_references(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise RuntimeError(f"{len(broken)} rows would point to nothing: {broken[:3]}")


def run() -> None:
    with engine.connect() as connection, copying_tables(connection):
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_item=as_plain_type,
            **current_app.extensions["migrate"].configure_args
            | {"render_as_batch": connection.dialect.name == "sqlite"},
        )
        with context.begin_transaction():
            context.run_migrations()
            check_references(connection)


if context.is_offline_mode():
    context.configure(
        url=engine.url.render_as_string(hide_password=False),
        target_metadata=db.metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    run()
