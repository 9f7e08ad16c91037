"""`viewer restore`: a viewer from a backup, or the files that a running one misses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from viewer import create_app, holdings, host_lock
from viewer.commands.backup import absolute
from viewer.commands.bars import Bars
from viewer.commands.context import PROBLEMS, in_one_sentence, opened_app
from viewer.config import Settings, read, restrict_new_files, settings
from viewer.extensions import db
from viewer.storage import StorageError
from viewer.upkeep import adoption, schema
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import TargetError
from viewer.upkeep.restore import checks, missing, run
from viewer.upkeep.restore.checks import CannotRestore

BAD, REFUSED = 1, 2
NAMED = 20  # bad files


@click.command()
@click.option("--from", "source", required=True, help="The target that was backed up to.")
@click.option("--snapshot", type=click.IntRange(min=1), help="Its number; else the newest.")
@click.option("--only-missing", is_flag=True, help="Of this viewer: the files it misses.")
@click.option("--keep-files", is_flag=True, help="MEDIA_ROOT survived; the database is lost.")
@click.option("--into-folder", is_flag=True, help="Also the originals that were in S3.")
@click.option("--new-disk", is_flag=True, help="MEDIA_ROOT is empty: its disk was replaced.")
@click.option("--drill", is_flag=True, hidden=True)  # all into the folder, and nobody goes on
@click.option("--sample", type=click.File("r"), hidden=True)  # of a drill: keys, one a line
def restore(
    source: str,
    snapshot: int | None,
    only_missing: bool,
    keep_files: bool,
    into_folder: bool,
    new_disk: bool,
    drill: bool,
    sample: TextIO | None,
) -> None:
    """Restore database and originals from a backup onto an empty machine.

    With --only-missing: bring back what a viewer in use misses; it may go on running.
    Exits with 1 if something is missing or wrong, with 2 if nothing could be restored.
    """
    if only_missing and (snapshot or keep_files or into_folder or sample):
        raise click.UsageError("--only-missing goes with --from and --new-disk alone")
    if new_disk and not only_missing:
        raise click.UsageError("--new-disk goes with --only-missing")
    keys = frozenset(sample.read().split()) if sample else None
    wish = run.Wish(into_folder or drill, keys, is_drill=drill)
    with _refusals():
        is_whole = (
            _bring_back(absolute(source), new_disk)
            if only_missing
            else _restore(absolute(source), snapshot, keep_files, wish, is_drill=drill)
        )
    sys.exit(0 if is_whole else BAD)


def _restore(
    url: str, snapshot: int | None, keep_files: bool, wish: run.Wish, *, is_drill: bool
) -> bool:
    """Whether everything is there. Raises what _refusals() says."""
    found = read()
    restrict_new_files(found)
    with host_lock.hold(found.data_dir), in_one_sentence(found), create_app().app_context():
        try:
            plan = checks.make_plan(url, snapshot, keep_files=keep_files)
            for note in plan.notes:
                click.echo(note, err=True)
            with Bars() as bars:
                result = run.restore(plan, create_app, bars, wish)
        finally:
            db.session.remove()
            db.engine.dispose()
    taken = f"{plan.snapshot.taken_at:%Y-%m-%d %H:%M} UTC"
    click.echo(f"Snapshot {plan.snapshot.number} of {taken}: {result.words}")
    _name(result.bad)
    if result.without_derivatives:
        click.echo(f"Thumbnails of {result.without_derivatives:,} are made again, newest first.")
    if not is_drill:
        _say_what_is_next(found, taken)
    return result.is_whole


def _say_what_is_next(found: Settings, taken: str) -> None:
    click.echo(
        f"Start it with: viewer up. It then asks the phone provider for what came since {taken}."
        f"{'' if found.QUO_API_KEY.get_secret_value() else ' Set QUO_API_KEY for that.'}"
    )
    click.echo(
        "Everybody logs in again. Users, API tokens and share links are as they were then: what was"
        " revoked since is valid again until you revoke it."
    )


def _bring_back(url: str, new_disk: bool) -> bool:
    """Whether everything is there. Raises what _refusals() says."""
    if new_disk:
        restrict_new_files(read())
        with create_app().app_context(), in_one_sentence(settings()):
            schema.check()
            adoption.adopt_new_disk(holdings.unproven())
            db.engine.dispose()
    with opened_app():
        target = targets.open_target(url)
        with Bars() as bars:
            result = missing.bring_back(target, bars)
    click.echo(str(result), err=result.problem is not None)
    _name(result.bad)
    if result.problem:
        sys.exit(REFUSED)
    return not result.still_bad


def _name(bad: dict[str, str]) -> None:
    for key in list(bad)[:NAMED]:
        click.echo(f"  {bad[key]}: {key}")
    if len(bad) > NAMED:
        click.echo(f"  {len(bad) - NAMED:,} more; their rows say so")


@contextmanager
def _refusals() -> Iterator[None]:
    """End with a sentence where nothing could be restored."""
    try:
        yield
    except (CannotRestore, TargetError, StorageError, *PROBLEMS) as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(REFUSED)
