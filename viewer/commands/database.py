"""`viewer db …`: migrate the database."""

import click

from viewer import host_lock
from viewer.commands.context import in_one_sentence, migrate, new_app
from viewer.config import settings
from viewer.extensions import db
from viewer.upkeep import schema


@click.group("db")
def database() -> None:
    """Migrate the database."""


@database.command("upgrade")
def upgrade() -> None:
    """Upgrade the database to this version's schema; copy a SQLite file first."""
    with new_app().app_context(), in_one_sentence(settings()):
        before = schema.versions()
        if before.are_equal:
            click.echo(f"The database is at version {before.needed} already")
        else:
            # Not beside a running viewer: its old code would write to the new schema.
            with host_lock.hold(settings().data_dir):
                migrate(settings())
            click.echo(f"The database is at version {before.needed} now")
        db.engine.dispose()
