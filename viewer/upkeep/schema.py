"""Verify that the database has the schema version of this code, or refuse to start."""

from dataclasses import dataclass

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app

from viewer.extensions import db


class WrongSchema(Exception):
    """The database has another schema version than the code."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The schema revision of the database, and the one this code needs."""

    found: str | None
    needed: str | None
    is_new: bool  # a database without any table
    is_known: bool  # whether this code has a migration that leads to `found`

    @property
    def are_equal(self) -> bool:
        return self.found == self.needed


def versions() -> Versions:
    with db.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        is_new = found is None and not sa.inspect(connection).get_table_names()
    return Versions(found, _scripts().get_current_head(), is_new, is_known(found))


def is_known(revision: str | None) -> bool:
    """Whether this code has a migration that leads to it; None is a database before the first."""
    return revision is None or revision in {one.revision for one in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(current_app.config["ROOT"] / "migrations"))


def check() -> None:
    """Raises WrongSchema: one half of a deployment must not write rows the other cannot read."""
    known = versions()
    if known.are_equal:
        return
    must_be_known(known)
    if known.is_new:
        raise WrongSchema("There is no database yet. Make it with: viewer db upgrade")
    raise WrongSchema(
        f"The database is at version {known.found or 'none'} and this code needs {known.needed}. "
        "Stop every viewer that uses it, then migrate with: viewer db upgrade"
    )


def must_be_known(known: Versions) -> None:
    """Raises WrongSchema if newer code has migrated the database."""
    if not known.is_known:
        raise WrongSchema(
            f"The database is at version {known.found}, which this code does not know: newer code"
            " has migrated it. Install that code again, or go back to a copy from before."
        )
