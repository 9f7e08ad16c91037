"""Shared by all commands: a checked application, and one-line error messages."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import flask_migrate
import sqlalchemy as sa
from flask import Flask

from viewer import config, create_app, host_lock, valkey
from viewer.config import BadSetting, Settings
from viewer.extensions import UnsafeDatabase, db
from viewer.upkeep import identity, lost_stores, move, schema, snapshots
from viewer.upkeep.move import setting


class CannotStart(Exception):
    """A resource that a setting names does not work. The message names the setting."""


# Exceptions that stop a command and are reported in one line.
PROBLEMS = (
    BadSetting,
    CannotStart,
    UnsafeDatabase,
    host_lock.AlreadyRunning,
    identity.WrongStore,
    lost_stores.CannotGiveUp,
    move.CannotMove,
    schema.WrongSchema,
    snapshots.NoSnapshot,
    valkey.SocketPathTooLong,
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report PROBLEMS in one line, without a traceback, and exit."""
    try:
        yield
    except PROBLEMS as problem:
        sys.exit(f"viewer: {problem}")


@contextmanager
def opened_app(
    app: Flask | None = None, *, may_create: bool = False, follows_setting: bool = True
) -> Iterator[Flask]:
    """An application, pushed and checked: code, database and media folder belong together.

    Without `app`, a new one. `may_create` creates a missing database. `follows_setting`: new files
    must go where STORAGE_URL says. Raises PROBLEMS.
    """
    app = app or new_app()
    with app.app_context(), host_lock.use(config.settings().data_dir):
        found = config.settings()
        with in_one_sentence(found):
            if may_create and schema.versions().is_new:
                with host_lock.hold(found.data_dir):
                    migrate(found)
            schema.check()
            identity.ensure()
            if follows_setting:
                setting.follow()
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()


@contextmanager
def unproven_app() -> Iterator[None]:
    """An application, pushed, whose media folder may not be its own yet. Raises WrongSchema."""
    config.restrict_new_files(config.read())
    with create_app().app_context():
        try:
            schema.check()
            yield
        finally:
            db.session.remove()
            db.engine.dispose()


def new_app() -> Flask:
    """An application, not yet checked. Tells the user if this creates a new installation."""
    found = config.read()
    is_new = config.is_new(found)
    config.restrict_new_files(found)
    with in_one_sentence(found):
        app = create_app()
    if is_new:
        _tell_of_new_installation(found)
    return app


def migrate(found: Settings) -> None:
    """Upgrade the database to this code's schema; snapshot a SQLite file first. Idempotent.

    The caller must hold `host_lock`. Raises WrongSchema, NoSnapshot.
    """
    versions = schema.versions()
    if versions.are_equal:
        return
    schema.must_be_known(versions)
    if versions.found is not None and db.engine.dialect.name == "sqlite":
        path = snapshots.take_snapshot(found.data_dir, versions.found)
        click.echo(f"The database as it was before its migration is kept in {path}", err=True)
    flask_migrate.upgrade()


def _tell_of_new_installation(found: Settings) -> None:
    words = f"New installation: DATA_DIR {found.data_dir} was empty."
    here = Path.cwd() / ".env"
    if here.is_file() and here != config.env_file():
        words += f" {here} was not read, but {config.env_file()}; VIEWER_HOME chooses the folder."
    click.echo(words, err=True)


@contextmanager
def in_one_sentence(found: Settings) -> Iterator[None]:
    """Turn database errors into one line that names the setting. Raises CannotStart."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise CannotStart(f"DATABASE_URL: {_database(found)}: {_first_line(error)}") from error
    except ImportError as error:
        raise CannotStart(
            f"DATABASE_URL: the driver for PostgreSQL is not installed ({error}); the extra"
            " `postgres` brings it"
        ) from error


def _database(found: Settings) -> str:
    """Name the database, without its password."""
    url = sa.engine.make_url(found.database_url)
    if url.get_backend_name() == "sqlite":
        return f"{url.database} cannot be used"
    return f"the database {url.database} cannot be used"


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
