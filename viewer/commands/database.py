"""`viewer db …`: migrate the database, and copy it into another."""

import sys

import click
import sqlalchemy as sa

from viewer import create_app, host_lock
from viewer.commands.bars import Bars
from viewer.commands.context import PROBLEMS, in_one_sentence, migrate, new_app
from viewer.config import read, settings
from viewer.extensions import db
from viewer.plurals import counted
from viewer.upkeep import db_copy, schema

DIFFERENT, REFUSED = 1, 2


@click.group("db")
def database() -> None:
    """Migrate the database, or copy it into another."""


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


@database.command("copy")
@click.option(
    "--to", "url", required=True, help="postgresql://…: the address of an empty database."
)
def copy(url: str) -> None:
    """Copy the whole database into an empty one, such as from SQLite to PostgreSQL.

    Stop the viewer first, on every host. The target holds everything in the end or nothing, and
    nothing in the source changes. Then every row is read back and compared.

    Exits with 1 if the comparison found a difference, with 2 if nothing could be copied.
    """
    try:
        found = read()
        with host_lock.hold_alone(found.data_dir), in_one_sentence(found), Bars() as bars:
            result = _copy(url, bars)
    except (db_copy.CannotCopy, *PROBLEMS) as problem:
        click.echo(f"viewer: {problem} Nothing was copied.", err=True)
        sys.exit(DIFFERENT if isinstance(problem, db_copy.Different) else REFUSED)
    for name, rows in result.replaced.items():
        click.echo(f"{name}: in {counted(rows, 'row')} a NUL became �, as PostgreSQL holds none")
    click.echo(str(result))
    click.echo(
        "Set this before you start the viewer again (what is written to the old one is not in it):"
        f"\n\n    DATABASE_URL={sa.make_url(url).render_as_string()}\n"
    )


def _copy(url: str, bars: Bars) -> db_copy.Result:
    with create_app().app_context():
        return db_copy.copy(url, create_app, bars)
