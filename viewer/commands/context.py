"""What every command needs: an application that may be used, and errors that are one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from viewer import create_app, valkey
from viewer.config import BadSetting
from viewer.extensions import UnsafeDatabase, db
from viewer.upkeep import identity, schema

# What stops a start, in one line for the person who started it.
PROBLEMS = (
    BadSetting,
    UnsafeDatabase,
    identity.WrongStore,
    schema.WrongSchema,
    valkey.SocketPathTooLong,
)


@contextmanager
def opened_app() -> Iterator[Flask]:
    """An application whose code, database and media folder belong together."""
    app = create_app()
    with app.app_context():
        schema.check()
        identity.ensure()
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()
