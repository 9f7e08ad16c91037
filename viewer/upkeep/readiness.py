"""Startup check under a foreign WSGI server; commands check in `commands/context`."""

import logging
import sys

import click
import sqlalchemy as sa
from flask import Flask

from viewer.extensions import db
from viewer.upkeep import identity, schema

log = logging.getLogger(__name__)

# gunicorn's exit code for an application that cannot be loaded (Arbiter.APP_LOAD_ERROR): with any
# other, its master would restart workers for ever.
CANNOT_LOAD = 4


def check(app: Flask) -> None:
    """Exit with one line if the database has another schema; check the store's identity.

    An unavailable store does not stop the start: deliveries are still accepted, pages still served,
    and media answer 503 until its disk is mounted.
    """
    if click.get_current_context(silent=True):  # `flask db upgrade` loads the application, too
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
            db.engine.dispose()  # no open connection may cross a fork
