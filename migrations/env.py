"""Runs the migrations on the application's own engine. Started by Flask-Migrate."""

from alembic import context
from flask import current_app

from viewer import models  # noqa: F401 - autogenerate compares with these tables
from viewer.extensions import UtcDateTime, db

engine = db.engine


def as_plain_type(kind: str, item: object, _context: object) -> str | bool:
    """Migrations must go on working when our own types have changed: they name plain ones."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


def run() -> None:
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_item=as_plain_type,
            # SQLite cannot change a table in place; Alembic then copies it (batch).
            **current_app.extensions["migrate"].configure_args
            | {"render_as_batch": connection.dialect.name == "sqlite"},
        )
        with context.begin_transaction():
            context.run_migrations()


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
