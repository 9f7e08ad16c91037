"""`viewer up`, and its parts: web, work, schedule."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

import click
import flask_migrate
import sqlalchemy as sa
from flask import Flask
from gunicorn.app.base import BaseApplication

from viewer import create_app, jobs, supervise, valkey
from viewer import schedule as clock
from viewer.commands.context import opened_app
from viewer.config import Settings, is_loopback, read
from viewer.extensions import db, spool
from viewer.models import User
from viewer.upkeep import identity


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def up(host: str, port: int) -> None:
    """Run everything on this host; Ctrl-C stops it."""
    sys.exit(run_host(read(), host, port))


def run_host(settings: Settings, host: str, port: int) -> int:
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
        with opened_app():
            spool().tidy(older_than=0)  # every writer is gone: no half file stays


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
        with opened_app() as app:
            return app


@click.command()
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


@click.command()
@click.argument("queues", nargs=-1, type=click.Choice(jobs.QUEUES))
@click.option("--burst", is_flag=True, help="Stop when the queues are empty.")
def work(queues: tuple[str, ...], burst: bool) -> None:
    """Be a worker, on all queues or on those named."""
    with opened_app():
        jobs.work(queues or jobs.QUEUES, burst=burst)


@click.command()
def schedule() -> None:
    """Do what is due by the clock. Safe to run on every host."""
    stop = threading.Event()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    with opened_app() as app:
        clock.run(app, stop)
