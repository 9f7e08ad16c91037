"""`viewer customer`: hand out all that is held about a number, or forget it."""

import json
import uuid
from pathlib import Path

import click
import sqlalchemy as sa

from viewer import quo
from viewer.commands.context import opened_app
from viewer.extensions import db
from viewer.models import Forgetting
from viewer.office import disclosure, forgetting
from viewer.storage import StorageError
from viewer.upkeep import forget as forgettings
from viewer.web.conversations import archive
from viewer.web.media import zips


@click.group()
def customer() -> None:
    """Export or forget all that is held about a customer."""


@customer.command()
@click.argument("number")
@click.option(
    "--to",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="A new file, such as held.zip; readable by its owner alone.",
)
def export(number: str, path: Path) -> None:
    """Write everything that is held about a customer into a ZIP."""
    with opened_app():
        made = disclosure.disclose(quo.canonical(number))
        if made is None:
            raise click.ClickException("nothing is held about this number")
        found = archive.archive_of(made)
        disclosure.note_disclosure(made)
        db.session.commit()
        try:
            size = zips.write(path, found.entries, found.texts)
        except (zips.BrokenOff, StorageError) as trouble:
            path.unlink(missing_ok=True)
            raise click.ClickException(f"a file could not be read: {trouble}") from trouble
        except OSError as trouble:
            raise click.ClickException(f"{path}: {trouble.strerror}") from trouble
    click.echo(f"{path}: {len(found.entries):,} files, {size:,} bytes")


@customer.command()
@click.argument("number")
@click.option(
    "--reason",
    required=True,
    type=click.Choice([one.value for one in Forgetting.Reason]),
    help="One of a fixed list: it stays on the receipt.",
)
@click.option(
    "--note", default="", help="For whoever looks at it meanwhile; it goes with the rest."
)
def forget(number: str, reason: str, note: str) -> None:
    """Forget a customer after FORGET_AFTER_DAYS. Until then it may be revoked."""
    with opened_app():
        canonical = quo.canonical(number)
        try:
            found = forgetting.ask(canonical, Forgetting.Reason(reason), note)
        except forgetting.NotOne as refusal:
            raise click.ClickException(str(refusal)) from None
        except forgetting.NothingHeld:
            raise click.ClickException("nothing is held about this number") from None
        except forgetting.UnderWay:
            raise click.ClickException("this number is being forgotten already") from None
        db.session.flush()
        held = forgetting.held_of(canonical)
        for kind, count in held.counts().items():
            click.echo(f"{count:7,} {kind}")
        if held.other_numbers:
            click.echo(
                f"{len(held.other_numbers)} further numbers of the same contacts stay", err=True
            )
        words = f"{found.id} will be erased from {found.due_at:%Y-%m-%d %H:%M} UTC on"
        db.session.commit()
    click.echo(words)


@customer.command()
@click.argument("forgetting_id", type=click.UUID)
def keep(forgetting_id: uuid.UUID) -> None:
    """Take back to forget a customer, while it waits."""
    with opened_app():
        try:
            forgetting.revoke(forgetting_id)
        except forgetting.TooLate:
            raise click.ClickException("there is nothing that waits under this id") from None
        db.session.commit()
    click.echo("The customer stays.")


@customer.command()
def receipts() -> None:
    """Print the receipts of whoever was forgotten, and the state of the others (JSON Lines)."""
    with opened_app():
        for one in db.session.scalars(sa.select(Forgetting).order_by(Forgetting.asked_at)):
            click.echo(json.dumps({"state": one.state.value, **one.receipt}))


@customer.command()
def erase() -> None:
    """Erase now what is due, and do not wait for the schedule or the night.

    Files are looked for once more after 30 minutes, and only then it is done.
    """
    with opened_app():
        said = [forgettings.forget_due(at_once=True), forgettings.clear_own()]
        said.append(forgettings.forget_due(at_once=True))
    click.echo("; ".join(said))
