"""`viewer verify`: check that every original is in its store with the bytes that came."""

import sys
import uuid

import click

from viewer.commands.context import opened_app
from viewer.upkeep import identity
from viewer.upkeep import verify as checks


@click.command()
@click.option("--all", "everything", is_flag=True, help="Read all bytes, not only tonight's slice.")
@click.option("--store", "chosen", type=click.UUID, help="Only this store; its marker names it.")
def verify(everything: bool, chosen: uuid.UUID | None) -> None:
    """Check that every original is there with the bytes that came, and repair what is not.

    Names each bad file. Exits with 1 if anything is damaged still, with 2 if it could not look.
    """
    try:
        with opened_app():
            results = [_verify(store, everything) for store in _choose(chosen)]
    except identity.WrongStore as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(2)
    if any(result.problem and not result.is_mass_change for result in results):
        sys.exit(2)
    sys.exit(1 if any(result.problem or result.damaged for result in results) else 0)


def _choose(chosen: uuid.UUID | None) -> list[uuid.UUID]:
    """Raises UsageError."""
    stores = checks.stores()
    if chosen is not None and chosen not in stores:
        raise click.UsageError(
            f"This host has no store {chosen}, but: {', '.join(map(str, stores))}"
        )
    return [chosen] if chosen else list(stores)


def _verify(storage: uuid.UUID, everything: bool) -> checks.Result:
    rows, size = checks.totals(storage)
    with (
        click.progressbar(length=rows, label="looking at files") as files,
        click.progressbar(length=size, label="reading") as read,
    ):
        looks = checks.Looks(files.update, read.update)
        result = checks.verify(storage, everything=everything, looks=looks)
    for row, finding in result.bad:
        click.echo(f"{finding}: {row.key}")
    for key in result.there.orphans.keys:
        click.echo(f"no row names it: {key}")
    click.echo(str(result))
    return result
