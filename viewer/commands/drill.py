"""`viewer drill`: prove that the backups can be restored."""

import sys

import click

from viewer.commands.backup import absolute
from viewer.commands.bars import Bars
from viewer.commands.context import opened_app
from viewer.storage import UnknownStore
from viewer.upkeep import identity
from viewer.upkeep.backup import scheduled
from viewer.upkeep.drill import run
from viewer.upkeep.drill.scratch import Busy

BAD, REFUSED = 1, 2


@click.command()
@click.option("--from", "source", help="The target that was backed up to; else BACKUP_TARGETS.")
@click.option("--full", is_flag=True, help="Restore and open every original, not a sample.")
def drill(source: str | None, full: bool) -> None:
    """Restore the newest backup into a scratch folder, and open originals in it.

    Nothing of this viewer is touched. Exits with 1 if the backup is not proven, with 2 if another
    drill is running.
    """
    try:
        with opened_app():
            urls = (absolute(source),) if source else scheduled.targets()
            if not urls:
                raise click.UsageError("name a target with --from, or set BACKUP_TARGETS")
            codes = [_drill(url, full) for url in urls]
    except identity.WrongStore as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(REFUSED)
    sys.exit(max(codes))


def _drill(url: str, full: bool) -> int:
    try:
        with Bars() as bars:
            result = run.drill(url, full=full, progress=bars)
    except (Busy, UnknownStore) as problem:
        click.echo(str(problem), err=True)
        return REFUSED
    click.echo(f"{url}: {result.words}", err=not result.is_good)
    return 0 if result.is_good else BAD
