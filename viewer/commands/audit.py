"""`viewer audit …`: the hash chain of the audit log."""

import json
import sys
from pathlib import Path

import click

from viewer.commands.context import opened_app
from viewer.office import audit, audit_chain
from viewer.office.audit_chain import Head
from viewer.upkeep.backup import audit_heads, scheduled


@click.group("audit")
def audit_log() -> None:
    """Prove that nobody altered the audit log."""


@audit_log.command()
@click.option(
    "--against",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A snapshot.json that was kept elsewhere; may be repeated.",
)
def verify(files: tuple[Path, ...]) -> None:
    """Compute the hash chain again, and compare it with the heads in all backups that can be read.

    Exits with 1 if an entry was altered or removed, or the log does not go on from a backup.
    """
    given = [_read(file) for file in files]
    with opened_app():
        audit.seal_ended()
        heads, unread = audit_heads.read_all(scheduled.targets())
        verdict = audit_chain.verify(heads=[*heads, *given])
        audit_chain.note(verdict, everything=True)
    for words in unread:
        click.echo(words, err=True)
    for problem in verdict.problems[1:]:
        click.echo(problem, err=True)
    click.echo(str(verdict))
    sys.exit(1 if verdict.problems else 0)


def _read(file: Path) -> Head:
    try:
        head = Head.of(json.loads(file.read_bytes()), str(file))
    except ValueError:
        head = None
    if head is None:
        raise click.UsageError(f"{file} names no head of an audit log.")
    return head
