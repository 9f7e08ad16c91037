"""What a WSGI server's own start asks for; the command line asks in `commands/context`."""

import logging
import sys

import click
import sqlalchemy as sa
from flask import Flask

from viewer.extensions import db
from viewer.upkeep import identity, schema

log = logging.getLogger(__name__)

# gunicorn's own code for an application that cannot be loaded: with any other, its master would
# start workers for ever.
CANNOT_LOAD = 4


def check(app: Flask) -> None:
    """Refuse a database of another schema with one sentence; know whose the store is.

    A store that is away stops nothing: deliveries are still taken, pages are still read, and
    media answer 503 until its disk is mounted.
    """
    if click.get_current_context(silent=True):  # `flask db upgrade` has to load it, too
        return
    with app.app_context():
        try:
            schema.check()
            identity.ensure()
        except schema.WrongSchema as problem:
            sys.stderr.write(f"viewer: {problem}\n")
            sys.exit(CANNOT_LOAD)
        except identity.WrongStore as problem:
            log.error("no media are served: %s", problem)
        except sa.exc.OperationalError as problem:
            log.error("the database does not answer: %s", problem.orig)
        finally:
            db.session.remove()
            db.engine.dispose()  # nothing open may cross a fork
