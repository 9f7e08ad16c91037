"""`viewer demo`: the whole viewer with a simulated phone provider."""

import base64
import itertools
import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import requests

from viewer import create_app, host_lock, supervise
from viewer.commands.context import CannotStart, migrate
from viewer.commands.serve import PORT, must_be_free, run_host
from viewer.config import HOME, PARTS_LOCK, USE_LOCK, VIEWER_LOCK, Settings, home, read
from viewer.demo import company
from viewer.demo import rest as demo_rest
from viewer.demo.provider import Provider
from viewer.extensions import db
from viewer.models import User
from viewer.office import accounts

DEMO_API_KEY = "demo-key"
DEMO_PASSWORD = "show-me-the-cracks"  # noqa: S105 - of fictional users on 127.0.0.1
DEMO_PROVIDER_PORT = 8199  # if free: media URLs of an earlier demo keep working
KEPT_SETTINGS = frozenset({"LOG_LEVEL", "TZ_DISPLAY", "WORKERS"})  # the demo sets all others


@click.command()
@click.option("--port", type=PORT, default=8000, show_default=True)
@click.option(
    "--provider-port",
    type=PORT,
    help=f"Of the stand-in; without it {DEMO_PROVIDER_PORT}, or a free one.",
)
@click.option("--keep", is_flag=True, help="Keep the data in var/demo for the next time.")
def demo(port: int, provider_port: int | None, keep: bool) -> None:
    """Run everything with sample data and a simulated phone provider.

    A second demo beside a running one uses a folder of its own; give it a --port.
    """
    must_be_free("127.0.0.1", port)
    provider_port = _provider_port(provider_port)
    with ExitStack() as stack:
        folder, locks = _take_folder(stack, home() / "var", keep=keep)
        secrets = company.Secrets(standard=f"whsec_{_fresh_key()}", legacy=_fresh_key())
        # Ignore this machine's settings: a demo must never write into the real database.
        for name in set(Settings.model_fields) - KEPT_SETTINGS:
            os.environ.pop(name, None)
        os.environ |= {
            HOME: str(folder),  # so that the real .env is not read either
            "DATA_DIR": str(folder),
            "QUO_WEBHOOK_SECRETS": f"{secrets.standard},{secrets.legacy}",
            "QUO_NUMBERS": "+16175550100",
            "MEDIA_HOSTS": "127.0.0.1",
            "MEDIA_ALLOW_LOOPBACK": "1",
            "QUO_API_KEY": DEMO_API_KEY,
            "QUO_API_URL": f"http://127.0.0.1:{provider_port}/api",
            "VIEWER_ENV": "development",
        }
        _hire_demo_staff()
        base = f"http://127.0.0.1:{port}"
        # A process of its own, like the provider that it stands for: it runs many threads.
        provider = supervise.Part("provider", partial(_play, provider_port, base, secrets), rank=3)
        code = run_host(read(), "127.0.0.1", port, locks, [provider])
    sys.exit(code)


def _take_folder(stack: ExitStack, parent: Path, *, keep: bool) -> tuple[Path, host_lock.Locks]:
    """Lock and empty the first demo folder that no other demo uses.

    With `keep` it is not emptied, and only the first folder is tried: raises AlreadyRunning if
    another demo uses it.
    """
    for number in itertools.count(1):
        folder = parent / ("demo" if number == 1 else f"demo-{number}")
        try:
            locks = stack.enter_context(host_lock.hold(folder))
        except host_lock.AlreadyRunning:
            if keep:
                raise
            continue
        if not keep:
            try:
                _empty(folder)
            except OSError as error:
                words = f"the data of an earlier demo in {folder} cannot be removed"
                raise CannotStart(f"{words}: {error.strerror}") from None
        return folder, locks
    raise AssertionError("numbers do not end")


def _empty(folder: Path) -> None:
    """Remove everything but the lock files: another process must find the locks that we hold."""
    for path in folder.iterdir():
        if path.name in (VIEWER_LOCK, PARTS_LOCK, USE_LOCK):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _provider_port(wanted: int | None) -> int:
    """The port of the simulated provider: this one, else its default port or a free one."""
    if wanted is not None:
        must_be_free("127.0.0.1", wanted, option="--provider-port")
        return wanted
    try:
        must_be_free("127.0.0.1", DEMO_PROVIDER_PORT)
    except CannotStart:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
            return port
    return DEMO_PROVIDER_PORT


def _hire_demo_staff() -> None:
    """Add one user for each role, all with DEMO_PASSWORD. Idempotent. Commits."""
    with create_app().app_context():
        migrate(read())
        password = accounts.hash_password(DEMO_PASSWORD)
        for name, role in (("Olivia", "owner"), ("Omar", "office"), ("Fay", "field")):
            if accounts.find_user(f"{role}@demo.example") is None:
                accounts.add(f"{role}@demo.example", User.Role(role), name, password)
        db.session.commit()
        db.engine.dispose()


def _fresh_key() -> str:
    return base64.b64encode(os.urandom(24)).decode()


def _play(port: int, base: str, secrets: company.Secrets) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Provider(port=port) as provider:
        _tell_stories(provider, base, secrets, stop)
        stop.wait()  # it goes on serving the files


def _tell_stories(
    provider: Provider, base: str, secrets: company.Secrets, stop: threading.Event
) -> None:
    now, webhook = datetime.now(UTC), f"{base}/webhooks/quo"
    workspace = demo_rest.of_company(provider, [], webhook, key=DEMO_API_KEY)
    workspace.fresh = None  # the photo that fails to download must go on failing
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
        f"\n  This is a demo: made-up people, a known password, plain http, this machine only."
        f"\n  Open {base}\n  Log in as owner@demo.example with the password {DEMO_PASSWORD}"
        "\n  (or as office@demo.example, field@demo.example)\n  Ctrl-C stops the demo.\n",
        bold=True,
    )

    def told(deliveries: int) -> None:
        click.echo(f"  {deliveries} deliveries of three months are in; new ones trickle in now.")
        # Fill the provider's REST API only now, so that everything arrives by webhook.
        for delivery in company.history(provider, now):
            demo_rest.learn(workspace, delivery.payload, {})

    company.play(provider, webhook, secrets, stop, now=now, on_history_told=told)
