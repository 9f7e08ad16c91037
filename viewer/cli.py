"""`viewer`: the same functions as the web, by another door."""

import base64
import logging
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click
import flask_migrate
import requests
import sqlalchemy as sa
from flask import Flask
from gunicorn.app.base import BaseApplication

from viewer import create_app, jobs, supervise, valkey
from viewer import schedule as clock
from viewer.config import BadSetting, Settings, is_loopback, read
from viewer.demo import company
from viewer.demo import rest as demo_rest
from viewer.demo.provider import Provider
from viewer.extensions import UnsafeDatabase, db, media_store
from viewer.intake import catch_up, collect, copies, indexing
from viewer.models import Conversation, MediaAttachment, Message, User, WebhookEvent
from viewer.office import accounts, care
from viewer.quo import rest
from viewer.upkeep import identity, schema

ROLES = [role.value for role in User.Role]  # of an enum click would take the names, in capitals
DEMO_FOLDER = Path("var/demo")
DEMO_API_KEY = "demo-key"
DEMO_PASSWORD = "show-me-the-cracks"  # noqa: S105 - of made-up people on 127.0.0.1
DEMO_PROVIDER_PORT = 8199  # always the same: media addresses of an earlier demo go on working

log = logging.getLogger(__name__)


@click.group()
def viewer() -> None:
    """Photos and voicemails of a business phone line."""


def main() -> None:
    """The console script. A wrong setting is one line, not a traceback."""
    try:
        viewer()
    except PROBLEMS as problem:
        sys.exit(f"viewer: {problem}")


@contextmanager
def _app() -> Iterator[Flask]:
    """An application whose code, database and media folder belong together."""
    app = create_app()
    with app.app_context():
        schema.check()
        identity.ensure()
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()


# What stops a start, in one line for the person who started it.
PROBLEMS = (
    BadSetting,
    UnsafeDatabase,
    identity.WrongStore,
    schema.WrongSchema,
    valkey.SocketPathTooLong,
)


@viewer.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def up(host: str, port: int) -> None:
    """Run everything on this host; Ctrl-C stops it."""
    sys.exit(_up(read(), host, port))


def _up(settings: Settings, host: str, port: int) -> int:
    if not is_loopback(host) and settings.VIEWER_ENV != "production":
        click.echo(
            f"Note: {host} is not this machine alone, and without VIEWER_ENV=production the"
            " login's cookie also travels over plain http.",
            err=True,
        )
    with create_app().app_context():
        flask_migrate.upgrade()
        identity.ensure()
        if db.session.scalar(sa.select(User.id).limit(1)) is None:
            click.echo("Nobody can log in yet: viewer user add EMAIL --role owner", err=True)
    parts = _parts(settings, host, port)
    try:
        return supervise.run(parts)
    finally:
        with _app():
            media_store().tidy(older_than=0)  # every writer is gone: no half file stays


def _parts(settings: Settings, host: str, port: int) -> list[supervise.Part]:
    def ours(*words: str) -> list[str]:
        return [sys.executable, "-m", "viewer", *words]

    parts = [
        supervise.Part("web", ours("web", "--host", host, "--port", str(port)), rank=3),
        supervise.Part("schedule", ours("schedule"), rank=2),
        *(
            supervise.Part(f"work-{number}", ours("work", jobs.INTAKE), rank=2)
            for number in range(1, settings.WORKERS + 1)
        ),
        supervise.Part("copies", ours("work", jobs.COPIES), rank=2),
    ]
    if not settings.REDIS_URL.get_secret_value():
        command = valkey.command(settings.data_dir, settings.embedded_redis_socket)
        parts.insert(0, supervise.Part("valkey", command, rank=0))
    return parts


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        with _app() as app:
            return app


@viewer.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--processes", default=2, show_default=True)
@click.option("--threads", default=8, show_default=True)
def web(host: str, port: int, processes: int, threads: int) -> None:
    """Serve the pages and the webhook."""
    _Gunicorn(
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": processes,
            "threads": threads,
            "worker_class": "gthread",
            "timeout": 60,
            "graceful_timeout": 8,
            "keepalive": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
    ).run()


@viewer.command()
@click.argument("queues", nargs=-1, type=click.Choice(jobs.QUEUES))
@click.option("--burst", is_flag=True, help="Stop when the queues are empty.")
def work(queues: tuple[str, ...], burst: bool) -> None:
    """Be a worker, on all queues or on those named."""
    with _app():
        jobs.work(queues or jobs.QUEUES, burst=burst)


@viewer.command()
def schedule() -> None:
    """Do what is due by the clock. Safe to run on every host."""
    stop = threading.Event()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    with _app() as app:
        clock.run(app, stop)


@viewer.command("catch-up")
@click.option("--since", type=click.DateTime(), help="UTC; without it: since the last run.")
def catch_up_now(since: datetime | None) -> None:
    """Bring home over REST what no webhook brought; the first time, everything there is."""
    with _app():
        try:
            client = catch_up.new_client()
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


@viewer.command()
@click.argument("media_id", required=False, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="Everything that is not safe yet.")
def retry(media_id: uuid.UUID | None, everything: bool) -> None:
    """Try to bring a file home again, now; of one that is here, to make its copies."""
    if (media_id is None) is not everything:
        raise click.UsageError("name one media attachment, or say --all")
    with _app():
        query = sa.select(MediaAttachment)
        if everything:
            query = query.where(
                MediaAttachment.state.in_(
                    (MediaAttachment.State.PENDING, MediaAttachment.State.NEEDS_ATTENTION)
                )
            )
        else:
            query = query.filter_by(id=media_id)
        rows = db.session.scalars(query).all()
        for row in rows:
            collect.retry(row)
            copies.retry(row)
        db.session.commit()
        jobs.enqueue(jobs.collect_media, *(row.id for row in rows))
        jobs.enqueue(jobs.derive_media, *(row.id for row in rows if row.is_stored))
    click.echo(f"{len(rows)} to be tried again")


@viewer.command()
def reprocess() -> None:
    """Read every unparsed event again, with the code of today."""
    with _app():
        rows = db.session.scalars(
            sa.select(WebhookEvent).filter_by(state=WebhookEvent.State.UNPARSED)
        ).all()
        for row in rows:
            row.state, row.attempts = WebhookEvent.State.RECEIVED, 0
        db.session.commit()
        jobs.enqueue(jobs.ingest_event, *(row.id for row in rows))
    click.echo(f"{len(rows)} events to be read again")


@viewer.command()
def reindex() -> None:
    """Read everything anew for the search. It goes on being found meanwhile."""
    with _app():
        rows = sum(
            db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0
            for model in (Conversation, Message)
        )
        indexing.start_over()
        db.session.commit()
        with click.progressbar(length=rows, label="reading") as bar:
            read = indexing.fill(bar.update)
    click.echo(f"{read} conversations and messages can be found")


@viewer.command()
@click.option("--yes", is_flag=True, help="Do it; without this, only say how many there are.")
def purge(yes: bool) -> None:
    """Delete for good what lay in the trash long enough and is neither linked nor evidence."""
    with _app():
        ids = care.purgeable()
        db.session.commit()
        if yes:
            click.echo(f"{care.purge(ids, None)} deleted for good; their bytes are in quarantine")
        else:
            click.echo(f"{len(ids)} could be deleted for good: say --yes")


@viewer.group("user")
def users() -> None:
    """Who may come in."""


@users.command("add")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default=User.Role.FIELD.value)
@click.option("--name", default="", help="As colleagues call them.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def add_user(email: str, role: str, name: str, password_stdin: bool) -> None:
    """Let somebody in."""
    chosen = _password(from_stdin=password_stdin)
    with _app(), _refusals():
        user = accounts.add(email, User.Role(role), name, accounts.hash_password(chosen))
        db.session.commit()
        click.echo(f"{user.email} is a user with the role {user.role}")


@users.command("invite")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), help="Add them with it, if need be.")
def invite_user(email: str, role: str | None) -> None:
    """Print a link by which somebody chooses a password: the first, or one that was forgotten."""
    with _app(), _refusals():
        if role is not None and accounts.find(email) is None:
            accounts.add(email, User.Role(role))
        token = accounts.invite(_user(email))
        db.session.commit()
        days = accounts.INVITATION_LASTS.days
        click.echo(f"Within {days} days, once: https://YOUR-HOST/invitations/{token}")


@users.command("enable")
@click.argument("email")
def enable_user(email: str) -> None:
    """Open the door again to somebody who was disabled."""
    with _app(), _refusals():
        accounts.enable(_user(email))
        db.session.commit()
    click.echo(f"{email} is enabled")


@users.command("list")
def list_users() -> None:
    """Everybody who may come in, and who may not any more."""
    with _app():
        for user in db.session.scalars(sa.select(User).order_by(User.email)):
            state = "enabled" if user.is_enabled else "disabled"
            click.echo(f"{user.email}\t{user.role}\t{state}\t{user.name}")


@users.command("disable")
@click.argument("email")
def disable_user(email: str) -> None:
    """Close the door to somebody, at once and on every device."""
    with _app(), _refusals():
        accounts.disable(_user(email))
        db.session.commit()
    click.echo(f"{email} is disabled")


@users.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def change_password(email: str, password_stdin: bool) -> None:
    """Give somebody a new password; every device is logged out."""
    chosen = _password(from_stdin=password_stdin)
    with _app(), _refusals():
        accounts.set_password(_user(email), accounts.hash_password(chosen))
        db.session.commit()
    click.echo(f"{email} has a new password")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    chosen: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return chosen


def _user(email: str) -> User:
    user = accounts.find(email)
    if user is None:
        raise accounts.Refused(f"There is no user {email}.")
    return user


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except accounts.Refused as refusal:
        raise click.ClickException(str(refusal)) from None


@viewer.command("settings")
def show_settings() -> None:
    """Print every setting in force; secrets stay hidden."""
    found = read()
    for name in Settings.model_fields:
        click.echo(f"{name}={getattr(found, name)}")


@viewer.command()
@click.option("--port", default=8000, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the data in var/demo for the next time.")
def demo(port: int, keep: bool) -> None:
    """A lively little company: everything runs, with a stand-in of the phone provider."""
    if not keep:
        shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
    secrets = company.Secrets(standard=f"whsec_{_fresh_key()}", legacy=_fresh_key())
    os.environ |= {
        "DATA_DIR": str(DEMO_FOLDER),
        "QUO_WEBHOOK_SECRETS": f"{secrets.standard},{secrets.legacy}",
        "QUO_NUMBERS": "+16175550100",
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": "1",
        "QUO_API_KEY": DEMO_API_KEY,
        "QUO_API_URL": f"http://127.0.0.1:{DEMO_PROVIDER_PORT}/api",
        "VIEWER_ENV": "development",
    }
    for name in ("DATABASE_URL", "REDIS_URL", "MEDIA_ROOT"):
        os.environ[name] = ""  # the embedded defaults, whatever this machine has set
    _hire_demo_staff()
    base, stop = f"http://127.0.0.1:{port}", threading.Event()
    with Provider(port=DEMO_PROVIDER_PORT) as provider:
        player = threading.Thread(
            target=_play, args=(provider, base, secrets, stop), name="provider", daemon=True
        )
        player.start()
        code = _up(read(), "127.0.0.1", port)
        stop.set()
    sys.exit(code)


def _hire_demo_staff() -> None:
    """One user of each role, all with one password that is printed."""
    with create_app().app_context():
        flask_migrate.upgrade()
        password = accounts.hash_password(DEMO_PASSWORD)
        for name, role in (("Olivia", "owner"), ("Omar", "office"), ("Fay", "field")):
            if accounts.find(f"{role}@demo.example") is None:
                accounts.add(f"{role}@demo.example", User.Role(role), name, password)
        db.session.commit()


def _fresh_key() -> str:
    return base64.b64encode(os.urandom(24)).decode()


def _play(provider: Provider, base: str, secrets: company.Secrets, stop: threading.Event) -> None:
    now, webhook = datetime.now(UTC), f"{base}/webhooks/quo"
    workspace = demo_rest.of_company(provider, [], webhook, key=DEMO_API_KEY)
    workspace.fresh = None  # the photo that never comes stays away
    workspace.mount(provider)
    while not stop.wait(0.2):
        try:
            if requests.get(f"{base}/healthz", timeout=2).ok:
                break
        except requests.RequestException:
            continue
    if stop.is_set():
        return
    click.secho(
        f"\n  Open {base}\n  Log in as owner@demo.example with the password {DEMO_PASSWORD}"
        "\n  (or as office@demo.example, field@demo.example)\n  Ctrl-C stops the demo.\n",
        bold=True,
    )

    def told(deliveries: int) -> None:
        click.echo(f"  {deliveries} deliveries of three months are in; new ones trickle in now.")
        # Only now does the provider's API know it, too: everything came by webhook.
        for delivery in company.history(provider, now):
            demo_rest.learn(workspace, delivery.payload, {})

    company.play(provider, webhook, secrets, stop, now=now, on_history_told=told)


if __name__ == "__main__":
    main()
