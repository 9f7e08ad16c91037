"""`viewer db …`: the database itself."""

import click

from viewer import host_lock
from viewer.commands.context import in_one_sentence, migrate, new_app
from viewer.config import read
from viewer.extensions import db
from viewer.upkeep import schema


@click.group("db")
def database() -> None:
    """The database itself."""


@database.command("upgrade")
def upgrade() -> None:
    """Bring the database to the version of this code; a SQLite file is copied first."""
    found = read()
    app = new_app()
    with app.app_context(), in_one_sentence(found):
        before = schema.versions()
        if before.are_equal:
            click.echo(f"The database is at version {before.needed} already")
        else:
            # Under a viewer that runs, the code of before would go on writing.
            with host_lock.hold(found.data_dir):
                migrate(found)
            click.echo(f"The database is at version {before.needed} now")
        db.engine.dispose()
