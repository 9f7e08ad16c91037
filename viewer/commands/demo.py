"""`viewer demo`: the whole viewer with a stand-in of the phone provider."""

import base64
import os
import shutil
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import click
import flask_migrate
import requests

from viewer import create_app
from viewer.commands.serve import run_host
from viewer.config import read
from viewer.demo import company
from viewer.demo import rest as demo_rest
from viewer.demo.provider import Provider
from viewer.extensions import db
from viewer.models import User
from viewer.office import accounts

DEMO_FOLDER = Path("var/demo")
DEMO_API_KEY = "demo-key"
DEMO_PASSWORD = "show-me-the-cracks"  # noqa: S105 - of made-up people on 127.0.0.1
DEMO_PROVIDER_PORT = 8199  # always the same: media addresses of an earlier demo go on working


@click.command()
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
        code = run_host(read(), "127.0.0.1", port)
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
