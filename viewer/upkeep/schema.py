"""Code and database fit together, or nothing starts."""

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app

from viewer.extensions import db


class WrongSchema(Exception):
    """The database is of another version than the code."""


def check() -> None:
    """Raises WrongSchema. Half of a deployment must not write rows the other half cannot read."""
    needed = ScriptDirectory(str(current_app.config["ROOT"] / "migrations")).get_current_head()
    with db.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != needed:
        raise WrongSchema(
            f"The database is at version {found or 'none'} and this code needs {needed}. "
            "Migrate with: flask --app wsgi db upgrade"
        )
