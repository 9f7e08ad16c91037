"""`viewer storage …`: where the originals are, and how they get elsewhere."""

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from viewer import holdings
from viewer.commands.context import opened_app, unproven_app
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep import adoption, identity, lease, lost_stores
from viewer.upkeep import move as moves
from viewer.upkeep.health import stores
from viewer.upkeep.progress import size_in_words

LISTED = 10  # keys of files that something is said of
LEASE = 10.0  # seconds; two moves at once would do no harm, but twice the work
SAID_EVERY = 30.0  # seconds between two lines of progress, where there is no terminal


@click.group()
def storage() -> None:
    """Manage the stores, which hold the originals."""


@storage.command("list")
def list_stores() -> None:
    """List the stores: what is in each, and what waits to be pushed or cleared."""
    with opened_app(follows_setting=False):
        for one in stores.read():
            click.echo(f"{one.id}  {one.address}")
            for line in one.lines():
                click.echo(f"    {line}")


@storage.command()
def join() -> None:
    """Join with this host's empty MEDIA_ROOT: photos that it receives pass through it."""
    with unproven_app():
        row = identity.join()
        click.echo(f"joined: {row.address} is the folder {row.id} of {row.host}")


@storage.command()
@click.argument("store", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
def lost(store: uuid.UUID, yes: bool) -> None:
    """Give up a store that is lost for good, and bring its files back from where they still are.

    Exits with 1 if some are nowhere.
    """
    with opened_app(follows_setting=False):
        loss = lost_stores.survey(store)
        click.echo(
            f"{loss.address}: {counted(loss.elsewhere, 'file')} still in the store before it, "
            f"{loss.gone:,} to be brought back from the backup or the phone provider"
        )
        if not yes:
            click.confirm("Is this store lost for good?", abort=True)
        lost_stores.give_up(store)
        with click.progressbar(length=loss.gone, label="bringing back") as bar:
            right, still_bad = lost_stores.bring_back(bar.update)
    click.echo(f"{counted(right, 'file')} brought back, {still_bad:,} found nowhere")
    sys.exit(1 if still_bad else 0)


@storage.command()
@click.option("--to", "url", required=True, help="s3://bucket/prefix?region=…, or folder:")
@click.option("--dry-run", is_flag=True, help="Try the store, count, and change nothing.")
@click.option("--threads", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option("--max-mb-per-second", type=click.FloatRange(min=0.1), help="Else as fast as it can.")
def move(url: str, dry_run: bool, threads: int, max_mb_per_second: float | None) -> None:
    """Move all files to another store, and let new ones go there.

    Everything stays in use meanwhile. It may be stopped and begun again at any time. What former
    stores have is removed KEEP_MOVED_DAYS later, by the schedule.

    Exits with 1 if some could not be moved, with 2 if none could be.
    """
    most = max_mb_per_second and max_mb_per_second * 1_000_000
    try:
        with opened_app(follows_setting=False):
            target = moves.find(url)
            task = moves.Move(target, threads, moves.Pace(most))
            there_is = task.survey()
            click.echo(f"{target.store.address}: {_in_words(there_is)}")
            if dry_run:
                moves.check_room(target, there_is.size)
                return
            with lease.held("move", "Another move", LEASE):
                moves.take(target)
                with _shown(there_is.size) as advance:
                    result = task.run(advance)
    except (identity.WrongStore, moves.CannotMove, lease.Busy) as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(2)
    for word, keys in (("damaged", result.damaged), ("another file there", result.strange)):
        for key in keys[:LISTED]:
            click.echo(f"  {word}: {key}")
    click.echo(str(result))
    if result.problem:
        sys.exit(2)
    sys.exit(0 if result.is_whole else 1)


def _in_words(there_is: moves.Survey) -> str:
    words = f"{counted(there_is.files, 'file')} to move ({size_in_words(there_is.size)})"
    if there_is.damaged:
        words += f", {there_is.damaged:,} damaged ones stay where they are"
    if there_is.elsewhere:
        words += f", {there_is.elsewhere:,} in folders of other hosts, which push them"
    return words


@contextmanager
def _shown(size: int) -> Iterator[moves.Advance]:
    """Show files, bytes, rate and time left: as a bar, or as a line now and then."""
    begun = said_at = time.monotonic()
    files = moved = 0
    is_terminal = sys.stderr.isatty()

    def so_far() -> str:
        rate = moved / max(time.monotonic() - begun, 0.001)
        return (
            f"{files:,} files, {moved / 1e6:,.0f} of {size / 1e6:,.0f} MB, {rate / 1e6:,.1f} MB/s"
        )

    bar: Any = click.progressbar(
        length=max(size, 1),
        label="moving",
        file=sys.stderr,
        hidden=not is_terminal,
        item_show_func=lambda _: so_far(),
    )

    def advance(count: int, more: int) -> None:
        nonlocal files, moved, said_at
        files, moved = files + count, moved + more
        bar.update(more, files)
        if not is_terminal and time.monotonic() - said_at > SAID_EVERY:
            said_at = time.monotonic()
            left = (size - moved) * (said_at - begun) / max(moved, 1)
            click.echo(f"{so_far()}, {max(0.0, left) / 60:,.0f} min left", err=True)

    with bar:
        yield advance


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
    with unproven_app():
        _adopt(yes, sample, lost)


def _adopt(yes: bool, sample: int, lost: int) -> None:
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
