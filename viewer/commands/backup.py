"""`viewer backup`: copy database and originals to a target, and compare the copy."""

import sys
from pathlib import Path

import click

from viewer.commands.bars import Bars
from viewer.commands.context import opened_app
from viewer.storage import UnknownStore
from viewer.upkeep import identity
from viewer.upkeep.backup import record, scheduled
from viewer.upkeep.backup.targets.target import TargetError
from viewer.upkeep.lease import Busy

BAD, FAILED = 1, 2


@click.command()
@click.option(
    "--to",
    "target",
    help="A folder on another disk, s3://…, ssh://… or restic:… Without it: BACKUP_TARGETS.",
)
@click.option("--same-filesystem", is_flag=True, help="Even beside the originals, on one disk.")
@click.option(
    "--accept-changes",
    is_flag=True,
    help="You know of the originals that are gone or altered: back up the others, and go on.",
)
@click.option("--prune-only", is_flag=True, help="Only remove the snapshots whose time is over.")
def backup(
    target: str | None, same_filesystem: bool, accept_changes: bool, prune_only: bool
) -> None:
    """Back up database and originals, and compare the backup with the database.

    Exits with 1 if the backup is not right, with 2 if there could be none.
    """
    if accept_changes and prune_only:
        raise click.UsageError("say --accept-changes with the backup itself, not with --prune-only")
    try:
        with opened_app():
            urls = (absolute(target),) if target else scheduled.targets()
            if not urls:
                raise click.UsageError("name a target with --to, or set BACKUP_TARGETS")
            codes = [
                _prune(url, same_filesystem)
                if prune_only
                else _back_up(url, same_filesystem, accept_changes)
                for url in urls
            ]
    except identity.WrongStore as problem:
        click.echo(f"viewer: {problem}", err=True)
        sys.exit(FAILED)
    sys.exit(max(codes))


def _back_up(url: str, same_filesystem: bool, accept_changes: bool) -> int:
    try:
        with Bars() as bars:
            result = record.back_up(
                url,
                same_filesystem=same_filesystem,
                accept_changes=accept_changes,
                progress=bars,
            )
    except (Busy, UnknownStore) as problem:
        click.echo(str(problem), err=True)
        return FAILED
    click.echo(f"{url}: {result.words}", err=not result.is_good)
    if result.has_failed:
        return FAILED
    return 0 if result.is_good else BAD


def _prune(url: str, same_filesystem: bool) -> int:
    try:
        pruned = record.prune_only(url, same_filesystem=same_filesystem)
    except (Busy, UnknownStore, TargetError) as problem:
        click.echo(str(problem), err=True)
        return FAILED
    click.echo(f"{url}: {pruned.snapshots} snapshots and {pruned.files} files removed")
    if pruned.problem:
        click.echo(pruned.problem, err=True)
    return BAD if pruned.problem else 0


def absolute(target: str) -> str:
    """A folder is named as the shell names it; other addresses are as they are."""
    return target if ":" in target else str(Path(target).expanduser().absolute())
