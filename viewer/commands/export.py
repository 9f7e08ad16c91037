"""`viewer export`: all originals with what is known of them, for AI and statistics."""

import sys
from pathlib import Path

import click

from viewer.commands.bars import Bars
from viewer.commands.context import opened_app
from viewer.upkeep import export as exports
from viewer.upkeep import identity
from viewer.upkeep.backup.targets.target import TargetError

LISTED = 20
NOT_WHOLE, FAILED = 1, 2


@click.command()
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="A new or an empty folder, or that of an earlier export.",
)
@click.option("--links", is_flag=True, help="With a hard link to each original, on the same disk.")
def export(folder: Path, links: bool) -> None:
    """Export a manifest of all originals (JSON Lines), with their work and its outcome.

    The same rows give the same bytes. Without --links it names the address of each original.

    Exits with 1 if originals are missing from the store, with 2 if nothing was exported.
    """
    try:
        with opened_app(), Bars() as bars:
            result = exports.run(folder, links=links, progress=bars)
    except (exports.CannotExport, identity.WrongStore, TargetError) as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(FAILED)
    for key in result.not_there[:LISTED]:
        click.echo(f"  not in the store as its row says: {key}", err=True)
    for path in result.last_links[:LISTED]:
        click.echo(f"  kept, as the store has lost it: {result.manifest.parent / path}", err=True)
    click.echo(str(result))
    if result.not_there or result.last_links:
        click.echo("viewer verify looks after what the store has lost.", err=True)
        sys.exit(NOT_WHOLE)
