"""`viewer storage …`: manage the media folder."""

import click

from viewer import create_app, holdings
from viewer.extensions import db
from viewer.storage import Unavailable
from viewer.upkeep import adoption, schema

LISTED = 10  # keys of missing and different files


@click.group()
def storage() -> None:
    """Manage the media folder, which holds the originals."""


@storage.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=adoption.SAMPLE,
    show_default=True,
    help="How many files to read through; of all others only the size is compared.",
)
@click.option(
    "--lost",
    type=click.IntRange(min=0),
    default=0,
    help="How many files you know to be missing or different.",
)
def adopt(yes: bool, sample: int, lost: int) -> None:
    """Adopt MEDIA_ROOT as this database's media folder, after comparing its files.

    For photos that were moved by hand, and for databases older than folder markers.
    """
    with create_app().app_context():
        try:
            _adopt(yes, sample, lost)
        finally:
            db.session.remove()
            db.engine.dispose()


def _adopt(yes: bool, sample: int, lost: int) -> None:
    schema.check()  # not opened_app(): it would refuse this very folder
    store = holdings.unproven()
    adoption.check_marker(store)
    files = adoption.expected_files()
    total = len(files) + min(sample, len(files))
    with click.progressbar(length=total, label="comparing") as bar:
        try:
            found = adoption.compare(store, files, sample, bar.update)
        except Unavailable as trouble:
            raise click.ClickException(str(trouble)) from None
    click.echo(
        f"{store.address}: of {found.expected} files {found.same_size} are there with their size, "
        f"{found.hashed} of them were read through; {len(found.missing)} are missing, "
        f"{len(found.different)} are different"
    )
    for word, keys in (("missing", found.missing), ("different", found.different)):
        for key in keys[:LISTED]:
            click.echo(f"  {word}: {key}")
        if len(keys) > LISTED:
            click.echo(f"  {word}: {len(keys) - LISTED} more")
    adoption.check_comparison(found, lost)
    if not yes:
        click.confirm("Is this the folder of this database?", abort=True)
    adoption.adopt(store)
    click.echo("adopted: the folder has its marker now")
