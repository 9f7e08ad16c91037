"""Maintenance commands: catch-up, retry, reprocess, reindex, purge."""

import sys
import uuid
from datetime import UTC, datetime

import click
import sqlalchemy as sa

from viewer import jobs
from viewer.commands.context import opened_app
from viewer.extensions import db, one_query
from viewer.intake import catch_up, collect, derivatives, rest_client
from viewer.models import Conversation, MediaAttachment, Message, WebhookEvent
from viewer.office import trash
from viewer.quo import rest
from viewer.search import indexing


@click.command("catch-up")
@click.option("--since", type=click.DateTime(), help="UTC; without it: since the last run.")
def catch_up_now(since: datetime | None) -> None:
    """Fetch over REST what no webhook delivered; the first time, the whole history."""
    with opened_app():
        try:
            client = rest_client.new_client()
        except rest.Refused as refusal:
            raise click.ClickException(refusal.reason) from None
        if client is None:
            raise click.ClickException("set QUO_API_KEY first")
        with client, click.progressbar(length=0, label="catching up", show_eta=False) as bar:

            def told(so_far: catch_up.Summary) -> None:
                bar.label = f"{so_far.stage} {so_far.reached or ''} {so_far.arrived} new"
                bar.length = so_far.listed + 1
                bar.update(so_far.listed - bar.pos)

            summary = catch_up.catch_up(client, since.replace(tzinfo=UTC) if since else None, told)
    click.echo(str(summary))
    sys.exit(1 if summary.problems else 0)


@click.command()
@click.argument("media_id", required=False, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="Everything that is not safe yet.")
def retry(media_id: uuid.UUID | None, everything: bool) -> None:
    """Retry the download of a file now, or of a stored one, its derivatives."""
    if (media_id is None) is not everything:
        raise click.UsageError("name one media attachment, or say --all")
    with opened_app():
        if media_id is not None:
            ids = [media_id]
        else:
            waits = MediaAttachment.state.in_(
                (MediaAttachment.State.PENDING, MediaAttachment.State.NEEDS_ATTENTION)
            )
            with one_query() as connection:
                ids = list(connection.scalars(sa.select(MediaAttachment.id).where(waits)))
        count = 0
        for one in ids:
            count += collect.retry(one) or derivatives.retry(one)
            db.session.commit()  # a lock for each: nobody waits for all of them
        jobs.remind(*jobs.QUEUES)
    click.echo(f"{count} to be tried again")


@click.command()
def reprocess() -> None:
    """Ingest every unparsed event again, with the current code."""
    with opened_app():
        count = WebhookEvent.read_again()
        db.session.commit()
        jobs.remind(jobs.INTAKE)
    click.echo(f"{count} events to be read again")


@click.command()
def reindex() -> None:
    """Rebuild the search index. Search keeps working meanwhile."""
    with opened_app():
        rows = sum(
            db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0
            for model in (Conversation, Message)
        )
        indexing.start_over()
        db.session.commit()
        with click.progressbar(length=rows, label="reading") as bar:
            read = indexing.fill_index(bar.update)
    click.echo(f"{read} conversations and messages can be found")


@click.command()
@click.option("--yes", is_flag=True, help="Do it; without this, only say how many there are.")
def purge(yes: bool) -> None:
    """Delete for good the trashed files that are old enough, not linked and not evidence."""
    with opened_app():
        ids = trash.purgeable()
        db.session.commit()
        if yes:
            click.echo(f"{trash.purge(ids, None)} deleted for good; their bytes are in quarantine")
        else:
            click.echo(f"{len(ids)} could be deleted for good: say --yes")
