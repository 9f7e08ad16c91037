"""`viewer customer`: hand out all that is held about a number, or forget it."""

import json
import uuid

import click
import sqlalchemy as sa

from viewer import quo
from viewer.commands.context import opened_app
from viewer.extensions import db
from viewer.models import Forgetting
from viewer.office import forgetting
from viewer.upkeep import forget as forgettings


@click.group()
def customer() -> None:
    """Export or forget all that is held about a customer."""


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
